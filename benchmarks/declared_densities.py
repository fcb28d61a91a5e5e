"""Runs without data against runs with data: how far declared densities are from what a text really keeps.

`python -m benchmarks.declared_densities [--tokens 512] [--only cpq kivi:bits=4]`. `pimc calibrate` reads one text and
declares what survives there; the policy then runs over another text, with data and without. Policies other than `cpq`
declare nothing, because what they keep follows from their parameters. With SmolLM2-135M and 512 tokens a policy takes
about a minute and a half of processor time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.command_line import end_with
from isa import Machine, Program, load_machine
from passes import KvSpecification, load_kv, parse_kv
from pimc.cli import main as pimc_command
from pimc.compiler import compile_model
from pimc.evaluation.costs import Cost
from pimc.evaluation.timing import cost_without_data
from pimc.evaluation.window_run import run_window
from pimc.evaluation.windows import cut_windows
from pimc.simulator import Session
from pimc.text_model import load_text_model

POLICIES = (
    "cpq",
    "int:bits=4",
    "kivi:bits=4",
    "window:sink=4,budget={half}",
    "h2o:budget={half}",
    "tova:budget={half}",
    "snapkv:budget={half}",
    "pyramidkv:budget={half}",
    "topk:k=64",
    "cam:k=64",
)
"""What is compared; `half` is half of the tokens."""

SPARSITY = 0.34
"""Share of the elements that `cpq` is calibrated to prune, as Titanus does on average."""

_MODEL = Path("models/build/smollm2/model.onnx")
_CALIBRATED_ON, _TEXT = Path("models/shakespeare-held-out.txt"), Path("models/jargon-file.txt")


@dataclass(frozen=True)
class Differences:
    """A run without data against one with data, as shares of the latter.

    Attributes:
        time: Of the 32 steps up to the last token.
        energy: Of these steps.
        bytes_moved: Bytes of the KV cache that these steps read and write.
        bytes_held: Bytes of the KV cache at the end.
    """

    time: float
    energy: float
    bytes_moved: float
    bytes_held: float

    @property
    def largest(self) -> float:
        """The largest of them, without its sign."""
        return max(map(abs, vars(self).values()))


def calibrated(model: Path, policy: str, text: Path, tokens: int) -> KvSpecification:
    """The policy with thresholds and survivors that `pimc calibrate` finds in the first tokens of a text.

    Args:
        model: ONNX file.
        policy: Specification of `cpq`.
        text: The text.
        tokens: How many of its tokens are read, as windows of at most 256.
    """
    window = min(tokens, 256)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        path = Path(folder) / "found.kv"
        words = ["calibrate", str(model), "--text", str(text), "--kv", policy, "--target", f"sparsity={SPARSITY}"]
        code = pimc_command([*words, "--window", str(window), "--limit", str(tokens // window), "-o", str(path)])
        if code:
            raise SystemExit(code)
        return load_kv(f"@{path}")


def first_tokens(model: Path, text: Path, tokens: int) -> NDArray[np.int64]:
    """The first tokens of a text, by the tokenizer beside the model."""
    tokenizer = load_text_model(str(model), {}).tokenizer
    found = tokenizer.encode(text.read_text(encoding="utf-8"), add_special_tokens=False).ids
    return cut_windows(found, tokens, tokens).window(0)


def differences(program: Program, machine: Machine, tokens: NDArray[np.int64]) -> Differences:
    """Read tokens with data, and as many without.

    Args:
        program: A language model with compressed caches, with its weights.
        machine: The machine.
        tokens: The text.
    """
    count = len(tokens)
    real = run_window(program, Session(program, machine), tokens, 1, (count,), lambda: None)
    guess, measured = cost_without_data(program, machine, count), real.at_context[count]
    held = _bytes_held(program, machine, count)
    moved = guess.cache_bytes_moved_per_token / measured.cache_bytes_moved_per_token
    return Differences(*_costs(guess, measured), moved - 1, held / real.cache_bytes - 1)


def _costs(guess: Cost, measured: Cost) -> tuple[float, float]:
    return guess.time_s / measured.time_s - 1, guess.energy_j / measured.energy_j - 1


def _bytes_held(program: Program, machine: Machine, tokens: int) -> int:
    session = Session(program, machine, timing_only=True)
    session.kv_length = tokens - 1
    session.step([0])
    return session.statistics.cache.bytes


def specification(model: Path, policy: str, text: Path, tokens: int) -> KvSpecification:
    """A policy of `POLICIES` for so many tokens; `cpq` is calibrated on the text."""
    written = policy.format(half=tokens // 2)
    return calibrated(model, written, text, tokens) if written.startswith("cpq") else parse_kv(written)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each policy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=_MODEL, help=f"ONNX file (default {_MODEL})")
    parser.add_argument("--calibrate-on", type=Path, default=_CALIBRATED_ON, help=f"(default {_CALIBRATED_ON})")
    parser.add_argument("--text", type=Path, default=_TEXT, help=f"text that is run (default {_TEXT})")
    parser.add_argument("--tokens", type=int, default=512, help="tokens of either text (default 512)")
    parser.add_argument("--only", nargs="+", default=POLICIES, metavar="POLICIES", help="policies instead of all")
    options = parser.parse_args(arguments)
    machine, tokens = load_machine("gddr6-aim"), first_tokens(options.model, options.text, options.tokens)
    names = [policy.format(half=options.tokens // 2) for policy in options.only]
    width = max(map(len, names))
    print(f"{'policy':{width}}      time    energy  KV moved   KV held")
    for name in names:
        kv = specification(options.model, name, options.calibrate_on, options.tokens)
        program = compile_model(options.model, machine, max_context=options.tokens, kv=kv)
        found = differences(program, machine, tokens)
        print(f"{name:{width}}", *(f"{100 * each:+7.2f} %" for each in vars(found).values()), flush=True)
    return 0


if __name__ == "__main__":
    end_with(main)
