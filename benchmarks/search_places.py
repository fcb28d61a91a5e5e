"""Attention to keys found by their signs: in the CAM, emulated in the banks, and exact attention in the banks.

    python -m benchmarks.search_places [--model models/tiny-shakespeare.onnx] [--contexts 128,256,512] [--plot F.svg]

Products with constants stay in the banks. A row is the mean of the last decode steps before a context, without data;
`*` marks the place of the search that `--units cost` chooses for that context.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmarks.command_line import end_with
from isa import Machine, Program, load_machine
from pimc.compiler import compile_model
from pimc.evaluation.costs import Cost
from pimc.evaluation.timing import cost_without_data
from pimc.report.pictures import svg_document, write_picture
from pimc.report.tradeoff import HEIGHT, STYLE, WIDTH, Point, panel

PLACES = (("exact in banks", False, "banks"), ("signs in banks", True, "banks"), ("signs in CAM", True, "cam"))
"""Name, whether keys are searched by signs, unit of attention."""

_STAGES = ("association", "normalisation", "contextualisation")
_MICRO, _KIB = 1e6, 1024


@dataclass(frozen=True)
class Placed:
    """Decode steps with attention in one place.

    Attributes:
        place: Name of the place.
        context: Tokens that the last step attends to.
        cost: Of the steps.
        is_chosen: Whether costs choose it among the places of the same policy.
    """

    place: str
    context: int
    cost: Cost
    is_chosen: bool

    @property
    def time_us(self) -> float:
        """Mean time of a step."""
        return self.cost.time_s / self.cost.steps * _MICRO

    @property
    def energy_uj(self) -> float:
        """Mean energy of a step."""
        return self.cost.energy_j_per_token * _MICRO


def measure(model: Path, machine: Machine, policy: str, contexts: Sequence[int]) -> list[Placed]:
    """All places at all contexts; `policy` is what signs do, `cam:k=32`."""
    return [each for context in contexts for each in _at(model, machine, policy, context)]


def _at(model: Path, machine: Machine, policy: str, context: int) -> list[Placed]:
    blocks = _program(model, machine, policy, context, "cost").metadata["blocks"]
    chosen = {str(block["unit"]) for block in blocks if block["operation"] == "cached_attention"}
    found = []
    for name, is_searched, unit in PLACES:
        program = _program(model, machine, policy if is_searched else None, context, unit)
        cost = cost_without_data(program, machine, context)
        found.append(Placed(name, context, cost, is_searched and chosen == {unit}))
    return found


def _program(model: Path, machine: Machine, policy: str | None, context: int, unit: str) -> Program:
    units = f"products=banks,attention={unit}"
    return compile_model(model, machine, {"batch": 1}, context, weights=False, kv=policy, units=units)


def table(found: Sequence[Placed]) -> list[str]:
    """The lines of the table."""
    stages = "".join(f"{stage:>19}" for stage in _STAGES)
    lines = [f"{'tokens':>6}  {'attention':<17}{'us/token':>9}{'uJ/token':>10}{'KiB moved':>11}{stages}"]
    for each in found:
        moved = each.cost.cache_bytes_moved_per_token / _KIB
        shares = (each.cost.busy_s.get(stage, 0.0) / each.cost.time_s for stage in _STAGES)
        busy = "".join(f"{f'{100 * share:.1f} %':>19}" if share else f"{'-':>19}" for share in shares)
        name = f"{each.place}{' *' if each.is_chosen else ''}"
        lines.append(f"{each.context:>6}  {name:<17}{each.time_us:>9.3f}{each.energy_uj:>10.2f}{moved:>11,.1f}{busy}")
    return lines


def draw(path: Path, title: str, found: Sequence[Placed]) -> None:
    """Energy against time of every place at every context."""
    points = [_point(each) for each in found]
    svg = svg_document(WIDTH, HEIGHT, [panel(0, title, ("microseconds a token", "microjoules a token"), points)], STYLE)
    write_picture(path, svg, f"<!doctype html>\n<title>{escape(title)}</title>\n{svg}")


def _point(each: Placed) -> Point:
    shown = f"{each.place}, {each.context} tokens: {each.time_us:.3f} us, {each.energy_uj:.2f} uJ"
    return Point(f"{each.place}, {each.context}", each.time_us, each.energy_uj, shown)


def main() -> None:
    """Print the table, and draw it when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/tiny-shakespeare.onnx"))
    parser.add_argument("--machine", default="e2e-pim")
    parser.add_argument("--kv", default="cam:k=32", metavar="POLICY", help="how signs are searched (default cam:k=32)")
    parser.add_argument("--contexts", default="128,256,512", metavar="N,...")
    parser.add_argument("--plot", type=Path, metavar="F", help="draw energy against time (.svg, .html, .png)")
    options = parser.parse_args()
    contexts = [int(part) for part in options.contexts.split(",")]
    found = measure(options.model, load_machine(options.machine), options.kv, contexts)
    title = f"{options.model} on {options.machine}, {options.kv}"
    print("\n".join([title, *table(found), "* chosen by cost"]))
    if options.plot is not None:
        draw(options.plot, title, found)


if __name__ == "__main__":
    end_with(main)
