"""Which unit of the machine each block runs on, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from isa import Program
from passes import Graph, block_facts
from pimc.report.quantities import count
from pimc.report.terminal import Terminal

_NAMED = 3
"""Blocks that are named where many run on the same unit."""

Block = Mapping[str, Any]


def blocks_of(program: Program) -> list[Block]:
    """The blocks that had a choice, those of all entries of several models; empty on machines without a choice."""
    parts = [program.metadata, *(program.entry_facts(entry) for entry in program.stages)]
    return [block for part in parts for block in part.get("blocks", ())]


def unit_rows(program: Program) -> list[tuple[str, str]]:
    """How many blocks of each operation run on each unit, as a line for a summary."""
    found: dict[str, Counter[str]] = {}
    for block in blocks_of(program):
        found.setdefault(block["unit"], Counter())[block["operation"]] += 1
    lines = [
        f"{unit}: {', '.join(f'{count(number)} {operation}' for operation, number in counts.items())}"
        for unit, counts in found.items()
    ]
    return [("units", "; ".join(lines))] if lines else []


def say_unmet(terminal: Terminal, program: Program) -> None:
    """Note which blocks do not run on the unit that `--units` wants for them, and why."""
    found: dict[str, list[str]] = {}
    for block in blocks_of(program):
        if "unmet" in block:
            found.setdefault(block["unmet"], []).append(block["node"])
    for problem, nodes in found.items():
        terminal.note(f"--units: {count(len(nodes))} {'block is' if len(nodes) == 1 else 'blocks are'} {problem}")


def print_units(terminal: Terminal, graphs: Iterable[Graph]) -> None:
    """The blocks of each unit in graphs of a compilation."""
    print_blocks(terminal, [block for graph in graphs for block in block_facts(graph)])


def print_blocks(terminal: Terminal, blocks: Sequence[Block]) -> None:
    """The blocks of each unit, together where one reason holds for several."""
    for unit, reason, nodes in _together(blocks):
        terminal.line()
        further = f" and {count(len(nodes) - _NAMED)} more" if len(nodes) > _NAMED else ""
        terminal.paragraph(f"{unit}: {', '.join(nodes[:_NAMED])}{further}")
        for part in reason.split("; "):
            terminal.paragraph(part, "  ")


def _together(blocks: Sequence[Block]) -> Iterator[tuple[str, str, list[str]]]:
    found: dict[tuple[str, str], list[str]] = {}
    for block in blocks:
        origin = f" ({block['onnx_nodes'][0]})" if block["onnx_nodes"] else ""
        found.setdefault((block["unit"], block["reason"]), []).append(f"{block['node']}{origin}")
    for (unit, reason), nodes in found.items():
        yield unit, reason, nodes
