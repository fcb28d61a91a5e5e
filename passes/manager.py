"""Running passes in order: verified after each, timed, and observed."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from isa import GraphError, PimcError
from passes.ir import Graph
from passes.verifier.verify import verify


class Pass(Protocol):
    """A rewrite of the graph: a frozen dataclass whose fields are its options.

    Its docstring states precondition, effect and postcondition.

    Attributes:
        name: Name in pipelines and on the command line.
        optional: Whether the graph compiles without it; such passes are turned off by -O0.
        reassociates: Whether results may round differently: the same sums in another order, as in other columns of the
            banks, or with fewer roundings. What other passes leave computes the same bit for bit.
    """

    name: ClassVar[str]
    optional: ClassVar[bool]
    reassociates: ClassVar[bool]

    def run(self, graph: Graph) -> bool:
        """Rewrite the graph in place; returns whether anything changed."""
        ...


@dataclass(frozen=True)
class PassReport:
    """What one pass did.

    Attributes:
        name: The pass.
        changed: Whether it changed the graph.
        run_seconds: Wall time of the pass.
        verify_seconds: Wall time of the verification after it.
        nodes_before: Number of nodes before.
        nodes_after: Number of nodes after.
    """

    name: str
    changed: bool
    run_seconds: float
    verify_seconds: float
    nodes_before: int
    nodes_after: int


Observer = Callable[[PassReport, Graph], None]
"""Called after every pass, once its result is verified: to print, to dump, to count."""


@dataclass(frozen=True)
class PassManager:
    """Runs passes over graphs.

    Attributes:
        passes: In the order in which they run.
        observers: Called after each pass.
        check_claims: Whether to make sure that what `run` returns is the truth, at the cost of two summaries a pass.
    """

    passes: Sequence[Pass]
    observers: Sequence[Observer] = ()
    check_claims: bool = False

    def run(self, graph: Graph) -> tuple[PassReport, ...]:
        """Verify the graph, then run every pass and verify after each.

        Raises:
            GraphError: The graph breaks a rule; the message says after which pass, the place is the ONNX node.
        """
        verify(graph)
        return tuple(self._run_one(current, graph) for current in self.passes)

    def _run_one(self, current: Pass, graph: Graph) -> PassReport:
        nodes_before = len(graph)
        summary_before = _summary(graph) if self.check_claims else None
        started = time.perf_counter()
        changed = current.run(graph)
        finished = time.perf_counter()
        if self.check_claims:
            _check_claim(current, changed, summary_before != _summary(graph))
        _verify_after(current, graph)
        verified = time.perf_counter()
        report = PassReport(current.name, changed, finished - started, verified - finished, nodes_before, len(graph))
        for observer in self.observers:
            observer(report, graph)
        return report


def _verify_after(current: Pass, graph: Graph) -> None:
    """Verify the graph; a failure is said to be the fault of `current`."""
    try:
        verify(graph)
    except PimcError as problem:
        raise GraphError(
            f"after pass '{current.name}': {problem.message}", problem.place, problem.notes, problem.help
        ) from problem


def _check_claim(current: Pass, said: bool, is_so: bool) -> None:
    if said != is_so:
        words = {True: "changed", False: "unchanged"}
        raise GraphError(f"pass '{current.name}' says {words[said]}, but the graph is {words[is_so]}")


def _summary(graph: Graph) -> Hashable:
    """All of a graph but its facts, with constants by identity."""
    nodes = tuple(
        (
            node.name,
            node.op,
            tuple(None if value is None else value.name for value in node.inputs),
            tuple((value.name, value.type) for value in node.outputs),
            tuple(sorted((name, repr(attribute)) for name, attribute in node.attributes.items())),
        )
        for node in graph.nodes
    )
    inputs = tuple(value.name for value in graph.inputs)
    outputs = tuple((name, value.name) for name, value in graph.outputs.items())
    return nodes, inputs, outputs, tuple(graph.caches.values())
