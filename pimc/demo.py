"""`make demo`: compile the bundled model, generate text with it, say how fast and how right that was."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from isa import InputError, Machine, PimcError, Program, load_machine
from pimc.commands.token_stream import print_stream
from pimc.compiler import compile_model
from pimc.frontend import load_model
from pimc.generation import Choice, Decoder, Logits, generate, sampler
from pimc.model_inputs import Step, empty_past, step_inputs
from pimc.reference import Reference
from pimc.report.quantities import count, percent, with_unit
from pimc.report.run import floor_text
from pimc.report.terminal import Terminal
from pimc.simulator import Session, Statistics
from pimc.text_model import load_text_model
from pimc.verification import OutputError, output_error, verify_program

_TOLERANCE = 1e-4
MODEL = Path(__file__).parent.parent / "models" / "tiny-shakespeare.onnx"
MACHINE = "gddr6-aim"
PROMPT = "ROMEO:\n"
TOKENS = 200
TEMPERATURE = 0.5
SEED = 1


@dataclass
class _Recorder:
    """Chooses tokens and keeps them with the logits they were chosen from."""

    choose: Choice
    logits: list[Logits] = field(default_factory=list[Logits])
    tokens: list[int] = field(default_factory=list[int])

    def __call__(self, logits: Logits) -> int:
        self.logits.append(logits)
        self.tokens.append(self.choose(logits))
        return self.tokens[-1]


def main() -> int:
    """Run the demonstration; returns the exit code."""
    try:
        if not MODEL.is_file():
            raise InputError(f"{MODEL} is missing", help="run the demonstration from a checkout of the project")
        return demonstrate(Terminal())
    except PimcError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code


def demonstrate(terminal: Terminal) -> int:
    """Compile, generate, measure, compare; returns 3 when the outputs differ from ONNX Runtime's."""
    machine = load_machine(MACHINE)
    started = time.perf_counter()
    program = compile_model(MODEL, machine)
    seconds = time.perf_counter() - started
    name = MODEL.name
    terminal.line(f"compiled {name} for {MACHINE}: {len(program.code)} instructions, {seconds:.1f} s")
    terminal.line(f"generating {TOKENS} tokens, one character each:")
    terminal.line()
    text_model = load_text_model(MODEL, {entry.key: entry.value for entry in load_model(MODEL).proto.metadata_props})
    prompt = text_model.encode(PROMPT, chat=False)
    decoder, recorder = Decoder(program, Session(program, machine)), _Recorder(sampler(TEMPERATURE, SEED))
    print_stream(PROMPT, generate(decoder, prompt, TOKENS, recorder), text_model)
    terminal.line()
    if decoder.decode is not None:
        terminal.facts(f"a token on {MACHINE}", _speed_rows(decoder.decode))
    return _compare(terminal, machine, program, prompt, recorder)


def _speed_rows(taken: Statistics) -> Iterator[tuple[str, str]]:
    tokens, busy = taken.tokens, taken.utilization_by_unit
    yield "tokens/s", f"{tokens / taken.time_s:,.0f}"
    yield "time", f"{with_unit(taken.time_s / tokens, 's')}, {count(round(taken.cycles / tokens))} cycles"
    yield "energy", with_unit(taken.energy_j / tokens, "J")
    yield "power", with_unit(taken.power_w, "W")
    yield "utilisation", ", ".join(f"{unit} {percent(share)}" for unit, share in busy.items())
    stats = taken.to_json()["bound"]
    yield "peak floor", floor_text(taken.time_s / tokens, stats["peak_floor_s"] / tokens)
    yield "row-cycled floor", floor_text(taken.time_s / tokens, stats["row_cycled_floor_s"] / tokens)


def _compare(terminal: Terminal, machine: Machine, program: Program, prompt: list[int], recorder: _Recorder) -> int:
    """Compare every logit of the text, then the program without the hardware's rounding, with ONNX Runtime."""
    reference = Reference(MODEL)
    error, agreeing = _text_error(program, reference, prompt, recorder)
    exact = compile_model(MODEL, machine, numerics="fp32")
    found = verify_program(exact, Session(exact, machine), reference, rtol=_TOLERANCE)
    worst = max(output.max_rel_error for output in found.outputs)
    steps = len(recorder.tokens)
    terminal.line()
    terminal.facts(
        "compared with ONNX Runtime",
        [
            ("likeliest token, rounded as the hardware does", f"the same at {agreeing} of {steps} positions"),
            ("logits, rounded as the hardware does", f"error at most {error.max_rel_error:.1e} of the largest logit"),
            ("all outputs in binary32", f"error at most {worst:.1e} in {len(found.cases)} cases"),
        ],
    )
    relation = "equals" if found.ok else "does not equal"
    terminal.line(f"the output {relation} ONNX Runtime's (tolerance {_TOLERANCE:g} in binary32)")
    return 0 if found.ok else 3


def _text_error(
    program: Program, reference: Reference, prompt: list[int], recorder: _Recorder
) -> tuple[OutputError, int]:
    """Error of the logits over the whole text, and the number of positions with the same likeliest token."""
    text = np.array([prompt + recorder.tokens[:-1]], np.int64)
    generator = np.random.default_rng(SEED)
    inputs = step_inputs(program.ports, Step(text.shape[1]), generator, program.metadata["table_rows"])
    expected = reference.run({**empty_past(program.ports), **inputs, "input_ids": text})["logits"][0, len(prompt) - 1 :]
    found = np.stack(recorder.logits)
    agreeing = int((found.argmax(axis=-1) == expected.argmax(axis=-1)).sum())
    return output_error("logits", found, expected), agreeing


if __name__ == "__main__":
    sys.exit(main())
