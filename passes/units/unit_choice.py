"""Which unit of the machine each block of a graph runs on, and how a user says so."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from isa import InputError
from passes.ir import Graph, Node

UNITS_OF_BLOCKS = ("banks", "crossbar", "cam")
"""Units that a block can run on: near the banks, in resistive arrays, in the associative memory."""

BY_COST = "cost"
"""In the place of a unit: the one that costs least."""

_UNITS_OF_KINDS: Mapping[str, tuple[str, ...]] = {"products": ("banks", "crossbar"), "attention": UNITS_OF_BLOCKS}
"""Units that blocks of a kind can run on."""

KINDS: Mapping[str, tuple[str, ...]] = {
    "products": ("linear", "feed_forward"),
    "attention": ("cached_attention",),
}
"""Operations of the blocks that have a choice, by what a specification calls them."""

_FORM = "write KIND=UNIT or NODE=UNIT, separated by commas: products=crossbar,attention=banks"


@dataclass(frozen=True)
class UnitSpecification:
    """What the user wants.

    Attributes:
        text: What was read.
        wishes: A kind of `KINDS`, or a pattern of node names, with a unit or `cost`; later ones override earlier ones.
    """

    text: str = BY_COST
    wishes: tuple[tuple[str, str], ...] = ()

    def wish(self, node: Node) -> str:
        """The unit that is wanted for a node, or `cost`."""
        return next((unit for who, unit in reversed(self.wishes) if _covers(who, node)), BY_COST)

    def names(self, node: Node) -> bool:
        """Whether the wish names the node itself, not its kind."""
        who = next((who for who, _ in reversed(self.wishes) if _covers(who, node)), "products")
        return who not in KINDS


def _covers(who: str, node: Node) -> bool:
    if who in KINDS:
        return node.op in KINDS[who]
    return any(fnmatchcase(name, who) for name in (node.name, *node.origins))


def parse_units(text: str) -> UnitSpecification:
    """Read `KIND=UNIT` and `NODE=UNIT`, separated by commas; a unit alone stands for all kinds that it can run.

    Raises:
        InputError: the text has another form, there is no such unit, or it is not one of that kind.
    """
    wishes: list[tuple[str, str]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        who, equals, unit = (word.strip() for word in part.rpartition("="))
        if unit not in (*UNITS_OF_BLOCKS, BY_COST):
            close = difflib.get_close_matches(unit, (*UNITS_OF_BLOCKS, BY_COST), 1)
            raise InputError(
                f"--units: there is no unit '{unit}'",
                notes=[f"units: {', '.join((*UNITS_OF_BLOCKS, BY_COST))}"],
                help=f"did you mean '{close[0]}'?" if close else _FORM,
            )
        if equals and not who:
            raise InputError(f"--units: '{part}' names no block", help=_FORM)
        kinds = [kind for kind in KINDS if unit == BY_COST or unit in _UNITS_OF_KINDS[kind]]
        if who in KINDS and who not in kinds:
            choices = ", ".join((*_UNITS_OF_KINDS[who], BY_COST))
            raise InputError(f"--units: {who} cannot run on '{unit}'", notes=[f"units of {who}: {choices}"])
        wishes += [(who, unit)] if equals else [(kind, unit) for kind in kinds]
    if not wishes:
        raise InputError("--units: nothing is chosen", help=_FORM)
    return UnitSpecification(text.strip(), tuple(wishes))


@dataclass(frozen=True)
class UnitChoice:
    """Where blocks run: the fact that `choose_units` writes.

    Attributes:
        units: Unit of each block that has a choice, by the name of its node; others run where they always do.
        reasons: Why, by the same names.
        unmet: Of blocks that do not run on the unit that is wanted for them, what keeps them from it.
    """

    units: Mapping[str, str] = field(default_factory=dict[str, str])
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    unmet: Mapping[str, str] = field(default_factory=dict[str, str])

    def of(self, node: Node) -> str:
        """The unit of a node."""
        return self.units.get(node.name, "banks")


def block_facts(graph: Graph) -> list[dict[str, object]]:
    """The blocks that have a choice, in the order of the graph: node, operation, ONNX nodes, unit and reason.

    `unmet` says, where the unit is not the one that is wanted, what keeps the block from it.
    """
    choice: UnitChoice = graph.facts.get("choose_units", UnitChoice())
    return [
        {
            "node": node.name,
            "operation": node.op,
            "onnx_nodes": list(node.origins),
            "unit": choice.units[node.name],
            "reason": choice.reasons[node.name],
            **({"unmet": choice.unmet[node.name]} if node.name in choice.unmet else {}),
        }
        for node in graph.nodes
        if node.name in choice.units
    ]
