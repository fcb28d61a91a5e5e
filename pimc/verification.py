"""Comparison of a compiled program with ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isa import Port, Program
from pimc.choices import Choices
from pimc.model_inputs import (
    Step,
    attended,
    empty_past,
    fixed_past,
    fixed_tokens,
    further_sizes,
    has_cache,
    has_mask,
    step_inputs,
    with_defaults,
)

if TYPE_CHECKING:
    from pimc.reference import Reference
    from pimc.simulator import Session

Array = NDArray[Any]
_LOG = logging.getLogger(__name__)

LEAST_COSINE = 0.999
"""Cosine with the reference that every output keeps when operands are rounded as the hardware does."""


def default_tolerance(numerics: str) -> float | None:
    """Largest relative error for a program of these numerics; `None` for those that round, judged by the cosine."""
    return 1e-4 if numerics == "fp32" else None


@dataclass(frozen=True)
class OutputError:
    """How far one output is from the reference: the worst of all runs.

    Attributes:
        name: ONNX output name.
        max_rel_error: Largest difference, relative to the largest magnitude of the reference output.
        max_abs_error: Largest difference.
        cosine: Cosine of the angle between the two as vectors.
    """

    name: str
    max_rel_error: float = 0.0
    max_abs_error: float = 0.0
    cosine: float = 1.0

    def worst(self, other: OutputError) -> OutputError:
        """The worse value of each; NaN is worst."""
        return OutputError(
            self.name,
            float(np.maximum(self.max_rel_error, other.max_rel_error)),
            float(np.maximum(self.max_abs_error, other.max_abs_error)),
            float(np.minimum(self.cosine, other.cosine)),
        )


@dataclass(frozen=True)
class Verification:
    """Outcome of a comparison.

    Attributes:
        outputs: In the order of the model.
        rtol: Largest relative error allowed; `None` asks for a cosine of at least `least_cosine` instead.
        cases: What was run, one line each.
        reference: What the outputs should equal, in words.
        notes: What else is to be said of the runs, one line each.
        least_cosine: Smallest cosine allowed where `rtol` does not judge.
    """

    outputs: tuple[OutputError, ...]
    rtol: float | None
    cases: tuple[str, ...]
    reference: str = "ONNX Runtime's"
    notes: tuple[str, ...] = ()
    least_cosine: float = LEAST_COSINE

    @property
    def ok(self) -> bool:
        """Whether every output is within the tolerance."""
        return all(self.accepts(output) for output in self.outputs)

    def accepts(self, output: OutputError) -> bool:
        """Whether one output is within the tolerance; NaN never is."""
        return output.cosine >= self.least_cosine if self.rtol is None else output.max_rel_error <= self.rtol

    def to_json(self) -> dict[str, Any]:
        """What `pimc verify --json` prints; an error that is not a number is null."""
        names = ("max_rel_error", "max_abs_error", "cosine")
        rows = [
            {"name": output.name, **{name: _finite(getattr(output, name)) for name in names}} for output in self.outputs
        ]
        return {"ok": self.ok, "outputs": rows}


@dataclass
class Comparison:
    """Runs a program and its reference side by side and keeps the worst error of every output.

    Attributes:
        session: The program on the simulator.
        reference: The model on ONNX Runtime.
        ports: The model's signature.
        choices: What the model chooses by top-k, watched where the program rounds.
        errors: Worst errors so far, by output name.
        others: Outputs that are not what the model calls so.
    """

    session: Session
    reference: Reference
    ports: tuple[Port, ...]
    choices: Choices | None = None
    errors: dict[str, OutputError] = field(default_factory=dict[str, OutputError])
    others: Collection[str] = ()

    def run(self, steps: Iterable[Mapping[str, Array]]) -> None:
        """Run consecutive inputs from an empty cache, or from the one that they bring, and compare after each."""
        self.session.reset()
        past = empty_past(self.ports)
        for inputs in steps:
            found = self.session.run(inputs)
            expected = self.reference.run({**past, **inputs})
            if self.choices is not None:
                self.choices.watch({**past, **inputs})
            past = _next_past(self.ports, expected)
            for name, array in expected.items():
                if name in self.others:
                    continue
                kept = attended(self._port(name), self.ports, inputs, array)
                error = output_error(name, found[name][kept], array[kept])
                self.errors[name] = self.errors.get(name, error).worst(error)

    def _port(self, name: str) -> Port:
        return next(port for port in self.ports if port.name == name and port.direction == "output")


def verify_program(
    program: Program,
    session: Session,
    reference: Reference,
    inputs: Mapping[str, Array] | None = None,
    rtol: float | None = 1e-4,
    seed: int = 0,
    show: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Compare a program with the model it came from.

    Args:
        program: The compiled program.
        session: The program, loaded into the simulator.
        reference: The model.
        inputs: Arrays by ONNX input name, without those that follow (`with_defaults`); `None` makes seeded ones of
            several shapes.
        rtol: Largest error allowed, relative to the largest magnitude of the reference output; `None`: by cosine.
        seed: Of the inputs.
        show: Gets one line about the progress before every case.
    """
    held = program.metadata.get("x_cache", {})
    choices = Choices.of(reference) if rtol is None else None
    comparison = Comparison(session, reference, _model_ports(program.ports, held), choices, others=held)
    if inputs is not None:
        comparison.run([with_defaults(program.ports, inputs)])
        lines = ["the given inputs"]
    else:
        generator = np.random.default_rng(seed)
        rows = program.metadata["table_rows"]
        cases = tuple(seeded_cases(program))
        for number, case in enumerate(cases, start=1):
            _LOG.info("case %d: %s", number, describe(case, program.ports))
            show(f"case {number} of {len(cases)}: {describe(case, program.ports)}")
            comparison.run(step_inputs(program.ports, step, generator, rows) for step in case)
        lines = [describe(case, program.ports) for case in cases]
    outputs = tuple(comparison.errors[name] for name in reference.outputs if name not in held)
    notes = [comparison.choices.note()] if comparison.choices is not None else []
    notes += ["the cache holds X; its inputs and outputs are no keys and values, and were not compared"] if held else []
    return Verification(outputs, rtol, tuple(lines), notes=tuple(note for note in notes if note))


def _model_ports(ports: Iterable[Port], held: Mapping[str, Sequence[str]]) -> tuple[Port, ...]:
    """The ports with the shapes of the model where the cache holds X."""
    return tuple(
        replace(port, shape=tuple(int(dim) if dim.isdecimal() else dim for dim in held[port.name]))
        if port.name in held
        else port
        for port in ports
    )


def output_error(name: str, found: Array, expected: Array) -> OutputError:
    """The error of one output; arrays of the same shape, possibly empty."""
    if not expected.size:
        return OutputError(name)
    a, b = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    difference = float(np.abs(a - b).max())
    largest = float(np.abs(b).max())
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / norms if norms else float(np.array_equal(a, b))
    return OutputError(name, difference / largest if largest else difference, difference, cosine)


def seeded_cases(program: Program) -> Iterator[tuple[Step, ...]]:
    """Runs that try short and long, whole and split, empty and filled, padded and not, as the program allows."""
    longest = int(program.metadata["max_context"])
    masks = has_mask(program.ports)
    tokens, past = fixed_tokens(program.ports), fixed_past(program.ports)
    if has_cache(program.ports) and past is None:
        whole = ((1, 1), (16, 1, 17), (33,), (5, 30)) if tokens is None else ((tokens, tokens, tokens),)
        for lengths in whole:
            yield tuple(consecutive(lengths, longest, (0, 0), tokens))
        if masks:
            yield tuple(consecutive((12, 1) if tokens is None else (tokens, tokens), longest, (0, 3), tokens))
        return
    before = past or 0
    least = max((symbol.low for symbol in program.registers), default=1)
    for count, masked in ((1, (0, 0)), (17, (0, 0)), (12, (7, 12))) if tokens is None else ((tokens, (0, 0)),):
        if before + count <= longest and (masks or masked == (0, 0)):
            yield (Step(max(count, least), before, masked),)


def consecutive(lengths: Sequence[int], longest: int, masked: tuple[int, int], fixed: int | None) -> Iterator[Step]:
    """Steps of so many tokens one after another, cut at the `longest` context; of `fixed` tokens or none."""
    past = 0
    for wanted in lengths:
        tokens = min(wanted, longest - past)
        if tokens >= (fixed or 1):
            yield Step(tokens, past, masked)
        past += tokens


def describe(case: Sequence[Step], ports: Sequence[Port] = ()) -> str:
    """One line about a case; with the sizes of further dimensions that the ports have."""
    counts = [f"{step.tokens} token{'s' if step.tokens > 1 else ''}{_further(step, ports)}" for step in case]
    parts = [f"{count} after {step.past}" if step.past else count for count, step in zip(counts, case, strict=True)]
    first, end = case[0].masked
    return ", then ".join(parts) + (f", positions {first} to {end - 1} masked out" if end > first else "")


def _further(step: Step, ports: Sequence[Port]) -> str:
    sizes = ", ".join(f"{name} {size}" for name, size in further_sizes(ports, step).items())
    return f" ({sizes})" if sizes else ""


def _next_past(ports: Iterable[Port], outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Present keys and values under the names of the past inputs that share their place."""
    present = {port.symbol: outputs[port.name] for port in ports if port.kind == "present"}
    return {port.name: present[port.symbol] for port in ports if port.kind == "past" and port.symbol in present}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
