"""SmolLM2-135M decode: simulated tokens a second against ONNX Runtime's on the same processor, compile time, memory.

`python -m benchmarks.smollm2 [--model FOLDER] [--json]`. Both are measured in turns in one run, because timings depend
on what else the machine does. Simulated means function, timing and energy together, under the machine's numerics.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.command_line import end_with
from isa import load_machine
from pimc.compiler import compile_model
from pimc.simulator import Session

_ROUNDS = 5
_TOKENS = 8
_PROMPT = 4


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/build/smollm2"), help="folder with model.onnx")
    parser.add_argument("--json", action="store_true", help="result as JSON")
    options = parser.parse_args()
    figures = _measure(options.model / "model.onnx")
    if options.json:
        print(json.dumps(figures))
        return 0
    for name, value in figures.items():
        print(f"{name:36} {value:10.2f}")
    return 0


def _measure(model: Path) -> dict[str, float]:
    machine = load_machine("gddr6-aim")
    started = time.perf_counter()
    program = compile_model(model, machine)
    compile_s = time.perf_counter() - started
    session = Session(program, machine)
    session.step(np.arange(_PROMPT))
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    reference = _reference_step(model)
    ours, theirs = 0.0, 0.0
    for _ in range(_ROUNDS):
        theirs += _seconds(reference)
        ours += _seconds(lambda: session.step([9]))
    tokens = _ROUNDS * _TOKENS
    return {
        "compile_s": compile_s,
        "peak_memory_before_reference_gib": peak_gib,
        "simulated_tokens_per_s": tokens / ours,
        "onnx_runtime_tokens_per_s": tokens / theirs,
        "ratio": theirs / ours,
        "machine_cycles_per_token": float(session.statistics.cycles),
    }


def _seconds(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    for _ in range(_TOKENS):
        step()
    return time.perf_counter() - started


def _reference_step(model: Path) -> Callable[[], None]:
    """A decode step of ONNX Runtime that keeps its own cache."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(model))
    names = [value.name for value in session.get_outputs()]
    past = {
        value.name: np.zeros((1, value.shape[1], _PROMPT, value.shape[3]), np.float32)
        for value in session.get_inputs()
        if value.name.startswith("past")
    }

    def step() -> None:
        length = next(iter(past.values())).shape[2]
        feeds = {
            "input_ids": np.array([[9]]),
            "attention_mask": np.ones((1, length + 1), np.int64),
            "position_ids": np.array([[length]]),
        }
        results = dict(zip(names, session.run(None, {**feeds, **past}), strict=True))
        for name in past:
            past[name] = results[name.replace("past_key_values", "present")]

    step()
    return step


if __name__ == "__main__":
    end_with(main)
