"""Comparison of a program whose KV cache is compressed with the meaning of its policies in numpy."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isa import Program
from passes import (
    Caches,
    Compression,
    Graph,
    Scored,
    SelectionError,
    cached_tokens,
    first_effect,
    interpret,
    selection_errors,
    thorough_length,
)
from pimc.model_inputs import Step, fixed_tokens, step_inputs, with_defaults
from pimc.verification import (
    LEAST_COSINE,
    OutputError,
    Verification,
    consecutive,
    default_tolerance,
    describe,
    output_error,
)

if TYPE_CHECKING:
    from pimc.simulator import Session

Array = NDArray[Any]
_LOG = logging.getLogger(__name__)

MEANING = "those of the policies' meaning in numpy"
_LAST_STEPS = (1, 1, 1)


_BORDER_TOLERANCE = 5e-3
"""Largest relative error where sums in another order may turn a code or a choice.

Measured: up to 2.7e-4 with codes of 4 and 8 bits, 2.1e-3 when a code of 2 bits turned.
"""

_SELECTION_COSINE = 0.95
"""Smallest cosine where rounding may turn what queries attend to.

Measured on the character model: 0.9928 with two pages, 0.9911 with eight keys by signs; codes of 2 bits keep 0.9995.
"""


class PolicyReference:
    """A graph with compressed caches, evaluated step by step with numpy.

    Attributes:
        graph: The graph that became the program.
        outputs: Names of the outputs that are compared: all but keys and values, which hold what the policies keep.
        longest: Tokens of the longest sequence so far.
        errors: What selections of keys have lost in sequences that have ended, by cache.
    """

    def __init__(self, graph: Graph, numerics: str) -> None:
        """Take a graph.

        Args:
            graph: As the passes left it.
            numerics: Of the program: `machine` rounds stored elements to bfloat16.
        """
        self.graph = graph
        self.outputs = tuple(graph.outputs)
        self._stored = storing(numerics)
        self._caches: Caches = {}
        self.longest = 0
        self.errors: dict[str, SelectionError] = {}

    def reset(self) -> None:
        """Empty the caches."""
        for name, error in selection_errors(self._caches).items():
            self.errors[name] = self.errors.get(name, SelectionError()) + error
        self._caches = {}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of the next step."""
        names = {value.name for value in self.graph.inputs}
        given = {name: array for name, array in inputs.items() if name in names}
        found = interpret(self.graph, given, caches=self._caches, stored=self._stored)
        self.longest = max(self.longest, cached_tokens(self._caches))
        return {name: found[name] for name in self.outputs}


def verify_policies(
    program: Program,
    session: Session,
    graph: Graph,
    inputs: Mapping[str, Array] | None = None,
    rtol: float | None = None,
    seed: int = 0,
    show: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Compare a program with the numpy meaning of the graph that it was made from, over a sequence and in pieces.

    Args:
        program: The compiled program.
        session: The program, loaded into the simulator.
        graph: What the passes left of the model.
        inputs: Arrays by ONNX input name for one run from an empty cache; `None` makes seeded ones that are long
            enough for every policy to act, as far as the context allows.
        rtol: Largest error allowed, relative to the largest magnitude of the reference output; default:
            `policy_tolerance`.
        seed: Of the inputs.
        show: Gets one line about the progress before every case.
    """
    rtol = policy_tolerance(program.numerics, [graph]) if rtol is None else rtol
    reference = PolicyReference(graph, program.numerics)
    errors: dict[str, OutputError] = {}
    if inputs is not None:
        _compare(session, reference, [with_defaults(program.ports, inputs)], errors)
        lines = ["the given inputs"]
    else:
        cases = policy_cases(program, compressions_of(graph))
        generator, rows = np.random.default_rng(seed), program.metadata["table_rows"]
        lines = [describe(case) for case in cases]
        for case, line in zip(cases, lines, strict=True):
            _LOG.info("%s", line)
            show(f"running {line}")
            _compare(session, reference, [step_inputs(program.ports, step, generator, rows) for step in case], errors)
    reference.reset()
    found = tuple(errors[name] for name in reference.outputs)
    notes = (
        reach(compressions_of(graph), reference.longest),
        *selection_notes(reference.errors),
        *rounding_notes(program.numerics, [graph]),
    )
    return Verification(found, rtol, tuple(lines), MEANING, notes, policy_cosine([graph]))


def selection_notes(errors: Mapping[str, SelectionError]) -> tuple[str, ...]:
    """How attention to selected keys differs from attention to all: over all layers, and in the worst."""
    if not errors:
        return ()
    worst = max(errors, key=lambda name: errors[name].relative_error)
    texts = [f"{name}: {_selection_text(each)}" for name, each in ((worst, errors[worst]),) if len(errors) > 1]
    total = sum(errors.values(), SelectionError())
    text = f"against attention to all keys, {_selection_text(total)}"
    return (f"{text} (worst layer {texts[0]})" if texts else text,)


def _selection_text(error: SelectionError) -> str:
    return (
        f"{100 * error.recall:.1f} % of the best keys are found, with {100 * error.weight:.1f} % of the weight;"
        f" relative error {error.relative_error:.3f}"
    )


def policy_tolerance(numerics: str, graphs: Sequence[Graph]) -> float | None:
    """Largest relative error for a program with compressed caches; `None` where the cosine judges.

    An element on the border of two codes, or a token on that of a selection, may fall on the other side.
    """
    has_borders = any(each.encoding or each.selection for each in _all(graphs))
    return _BORDER_TOLERANCE if numerics == "fp32" and has_borders else default_tolerance(numerics)


def policy_cosine(graphs: Sequence[Graph]) -> float:
    """Smallest cosine allowed where rounding is not compared element by element.

    A query that attends to another page or tile of keys because two scores are rounded to the same number is no error.
    """
    selects = any(each.selection for each in _all(graphs))
    return _SELECTION_COSINE if selects else LEAST_COSINE


def rounding_notes(numerics: str, graphs: Sequence[Graph]) -> tuple[str, ...]:
    """What machine rounding does to policies that compare numbers: numpy rounds what is stored, and nothing else."""
    compares = (isinstance(each.retention, Scored) or each.encoding or each.selection for each in _all(graphs))
    if numerics == "fp32" or not any(compares):
        return ()
    return ("rounding may turn codes and choices that are near a border; --numerics fp32 compares them exactly",)


def _all(graphs: Sequence[Graph]) -> Iterator[Compression]:
    for graph in graphs:
        yield from compressions_of(graph)


def compressions_of(graph: Graph) -> list[Compression]:
    """Of the compressed caches."""
    return [cache.compression for cache in graph.caches.values() if cache.compression is not None]


def policy_length(compressions: Sequence[Compression]) -> int:
    """Tokens of a sequence over which every policy acts several times."""
    return max((thorough_length(each) for each in compressions), default=1)


def policy_cases(program: Program, compressions: Sequence[Compression]) -> list[tuple[Step, ...]]:
    """Runs over which every policy acts several times, whole and in pieces, as far as the context allows."""
    longest = int(program.metadata["max_context"])
    total = min(policy_length(compressions), longest - len(_LAST_STEPS))
    fixed = fixed_tokens(program.ports)
    if fixed is not None:
        return [tuple(consecutive((fixed,) * -(-total // fixed), longest, (0, 0), fixed))]
    pieces = ((total, *_LAST_STEPS), (1, total // 3, total - total // 3 - 1, *_LAST_STEPS))
    return [tuple(consecutive([tokens for tokens in each if tokens], longest, (0, 0), None)) for each in pieces]


def _compare(
    session: Session, reference: PolicyReference, steps: Sequence[Mapping[str, Array]], errors: dict[str, OutputError]
) -> None:
    """Run consecutive inputs from an empty cache and compare after each; the worst errors are kept."""
    session.reset()
    reference.reset()
    for inputs in steps:
        found, expected = session.run(inputs), reference.run(inputs)
        for name, array in expected.items():
            error = output_error(name, found[name], array)
            errors[name] = errors.get(name, error).worst(error)


def reach(compressions: Sequence[Compression], longest: int) -> str:
    """How long the sequences were, and from which token on policies change what queries see.

    Args:
        compressions: Of the compressed caches.
        longest: Tokens of the longest sequence.
    """
    acting = [first_effect(each) for each in compressions]
    acted = [tokens for tokens in acting if tokens <= longest]
    counted = f"the policies of {len(acted)} of {len(acting)} layers act within these {longest} tokens"
    if not acted:
        return f"{counted}: they change nothing"
    first, last = min(acted), max(acted)
    return f"{counted}, from token {first} on" + (f" (the last from token {last} on)" if last > first else "")


def storing(numerics: str) -> Callable[[Array], Array]:
    """What storing keys and values does to them: `machine` rounds to bfloat16."""
    return _bfloat16 if numerics == "machine" else _as_it_is


def _as_it_is(x: Array) -> Array:
    return x


def _bfloat16(x: Array) -> Array:
    from ml_dtypes import bfloat16

    return x.astype(bfloat16).astype(np.float32)
