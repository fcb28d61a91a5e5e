"""One form for graphs that mean the same, so that the fusion patterns stay few."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from isa import GraphError
from passes.canonical import arithmetic, layout, lookup
from passes.ir import Graph, Node, Value
from passes.rewriting import replace

Rule = Callable[[Graph, Node], Value | None]

_ARITHMETIC: dict[str, tuple[Rule, ...]] = {
    "add": (arithmetic.neutral,),
    "sub": (arithmetic.neutral,),
    "mul": (arithmetic.neutral, arithmetic.negation),
    "div": (arithmetic.neutral, arithmetic.division),
    "pow": (arithmetic.neutral, arithmetic.square),
    "neg": (arithmetic.involution,),
    "not": (arithmetic.involution,),
    "identity": (arithmetic.identity,),
    "cast": (arithmetic.conversion,),
    "where": (arithmetic.choice,),
    "and": (arithmetic.conjunction,),
    "or": (arithmetic.conjunction,),
    "matmul": (arithmetic.outer_product,),
}
_LAYOUT: dict[str, tuple[Rule, ...]] = {
    "reshape": (layout.simplify_reshape,),
    "transpose": (layout.simplify_transpose, layout.transpose_before_merge, layout.transpose_operands),
    "expand": (layout.simplify_expand,),
    "slice": (layout.simplify_slice, layout.slice_of_constant),
    "gather": (layout.gather_one,),
    "gather_nd": (lookup.gather_nd_of_rows,),
    "gather_elements": (lookup.gather_elements_of_rows,),
    "concat": (layout.simplify_concat,),
    "split": (layout.simplify_split,),
    "linear": (layout.reshape_behind_linear,),
}
_MOST_SWEEPS = 50


def _rules(op: str) -> tuple[Rule, ...]:
    first = (arithmetic.constant_right,) if op in arithmetic.COMMUTATIVE else ()
    last = (arithmetic.without_expand,) if op in arithmetic.BROADCASTING else ()
    return (*first, *_ARITHMETIC.get(op, ()), *_LAYOUT.get(op, ()), *last)


RULES = {op: _rules(op) for op in (*_ARITHMETIC, *_LAYOUT, *arithmetic.BROADCASTING)}
"""The rules of every operation, in the order in which they are tried."""


@dataclass(frozen=True)
class Canonicalize:
    """Apply the rules of `canonical_arithmetic`, `canonical_layout` and `canonical_lookup` until none applies.

    Precondition: none.
    Effect: results stay the same bit for bit, but for the sign of zeros.
    Postcondition: no rule applies.
    """

    name: ClassVar[str] = "canonicalize"
    optional: ClassVar[bool] = False
    reassociates: ClassVar[bool] = False

    def run(self, graph: Graph) -> bool:
        """Rewrite to the fixed point; returns whether anything changed."""
        for sweep in range(_MOST_SWEEPS):
            if not _sweep(graph):
                return sweep > 0
        raise GraphError(f"no fixed point after {_MOST_SWEEPS} sweeps: two canonicalisation rules undo each other")


def _sweep(graph: Graph) -> bool:
    changed = False
    for node in graph.nodes:
        changed = (node in graph and _rewrite(graph, node)) or changed
    return changed


def _rewrite(graph: Graph, node: Node) -> bool:
    for rule in RULES.get(node.op, ()):
        new = rule(graph, node)
        if new is None:
            continue
        if new.type != node.output.type:
            raise GraphError(f"rule '{rule.__name__}' turns {node.output!r} into {new!r}")
        replace(graph, node.output, new)
        return True
    return False
