"""The choice of units against each mechanism forced, and against all choices there are.

    python -m benchmarks.unit_choice [--model models/build/smollm2-4/model.onnx] [--context 512] [--exhaustive]

Each choice is compiled for the machine and a decode step at the end of the context (a whole text for a model without
cache) is run without data; time, energy and their product are those of the simulator. Layers are alike: with
`--exhaustive` every combination of units within a layer runs once in all layers, the rest of the choices is added up
from these runs layer by layer, and the best of them run, too. `--plot` draws all that ran.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations_with_replacement, product
from pathlib import Path

from benchmarks.command_line import end_with
from isa import Machine, load_machine
from passes import Node
from pimc.compiler import compile_model, fuse_model
from pimc.frontend import load_model
from pimc.report.pictures import svg_document, write_picture
from pimc.report.tradeoff import HEIGHT, STYLE, WIDTH, Point, panel
from pimc.simulator import Simulator

FORCED = ("banks", "products=crossbar,attention=banks", "products=banks,attention=crossbar", "crossbar")
"""Mechanisms by themselves."""

_BLOCKS = ("linear", "feed_forward", "cached_attention")
_RUN_AGAIN = 8
"""Choices with the smallest sums that are run."""


@dataclass(frozen=True)
class Measured:
    """A decode step under one choice.

    Attributes:
        units: The choice.
        time_s: Its length.
        energy_j: Its energy, standby and leakage included.
    """

    units: str
    time_s: float
    energy_j: float

    @property
    def product(self) -> float:
        """Energy-delay product in joule seconds."""
        return self.time_s * self.energy_j


@dataclass(frozen=True)
class Workload:
    """What runs.

    Attributes:
        model: ONNX file.
        machine: The machine.
        context: Tokens of the cache and the step together, or of the text.
    """

    model: Path
    machine: Machine
    context: int

    def measure(self, units: str) -> Measured:
        """Compile for a choice and run it without data; writing weights into arrays is no part of it."""
        program = compile_model(
            self.model, self.machine, {"batch": 1}, max_context=self.context, weights=False, units=units
        )
        simulator = Simulator(self.machine)
        simulator.load(program)
        entry = "decode" if "decode" in program.entries else "encode"
        values = {"kv_length": self.context - 1 if entry == "decode" else 0, "token_count": self.context}
        asked = {name: values.get(name, 0) for name in program.entries[entry].registers}
        statistics = simulator.run(entry, asked, timing_only=True)
        return Measured(units, statistics.time_s, statistics.energy_j)

    def layers(self) -> tuple[list[list[str]], list[str]]:
        """Names of the blocks of each layer, and of those that belong to none."""
        graph = fuse_model(load_model(self.model), {"batch": 1})
        blocks = [node for node in graph.nodes if node.op in _BLOCKS]
        return _cut(blocks)


def _cut(blocks: Sequence[Node]) -> tuple[list[list[str]], list[str]]:
    """Layers repeat a row of operations around an attention; what is left at the end is no layer."""
    attentions = [number for number, node in enumerate(blocks) if node.op == "cached_attention"]
    length = attentions[1] - attentions[0] if len(attentions) > 1 else len(blocks)
    end = len(attentions) * length
    names = [node.name for node in blocks]
    return [names[first : first + length] for first in range(0, end, length)], names[end:]


def specification(choice: Iterable[tuple[str, str]]) -> str:
    """The wish for `--units` that names every block."""
    return ",".join(f"{name}={unit}" for name, unit in choice)


@dataclass(frozen=True)
class Search:
    """All choices there are.

    Attributes:
        number: How many.
        alike: Those that are the same in all layers, as they run.
        best: Those with the smallest sums, as they run, the best first.
    """

    number: int
    alike: tuple[Measured, ...]
    best: tuple[Measured, ...]


def exhaustive(workload: Workload) -> Search:
    """The best of all choices."""
    layers, rest = workload.layers()
    within = list(product(("banks", "crossbar"), repeat=len(layers[0])))
    outside = list(product(("banks", "crossbar"), repeat=len(rest)))
    sums: list[tuple[float, str]] = []
    ran: list[Measured] = []
    for ends in outside:
        alike = [workload.measure(_of_layers(layers, [units] * len(layers), rest, ends)) for units in within]
        ran += alike
        for mix in combinations_with_replacement(range(len(within)), len(layers)):
            time = sum(alike[number].time_s for number in mix) / len(layers)
            energy = sum(alike[number].energy_j for number in mix) / len(layers)
            sums.append((time * energy, _of_layers(layers, [within[number] for number in mix], rest, ends)))
    best = [workload.measure(units) for _, units in sorted(sums)[:_RUN_AGAIN]]
    return Search(len(sums), tuple(ran), tuple(sorted(best, key=lambda each: each.product)))


def _of_layers(
    layers: Sequence[Sequence[str]], chosen: Sequence[Sequence[str]], rest: Sequence[str], ends: Sequence[str]
) -> str:
    pairs = [pair for names, units in zip(layers, chosen, strict=True) for pair in zip(names, units, strict=True)]
    return specification([*pairs, *zip(rest, ends, strict=True)])


def line(name: str, found: Measured, best: float) -> str:
    """A row of the table."""
    figures = f"{found.time_s * 1e6:10.2f} {found.energy_j * 1e6:10.1f} {found.product * 1e12:14,.1f}"
    return f"{name:<36}{figures} {found.product / best:9.3f}"


def draw(path: Path, title: str, named: Sequence[tuple[str, Measured]], others: Iterable[Measured]) -> None:
    """Energy against time: the named choices, and all others without a name."""
    points = [_point(name, found) for name, found in named] + [_point("", found) for found in others]
    svg = svg_document(WIDTH, HEIGHT, [panel(0, title, ("microseconds", "microjoules"), points)], STYLE)
    write_picture(path, svg, f"<!doctype html>\n<title>{escape(title)}</title>\n{svg}")


def _point(name: str, found: Measured) -> Point:
    shown = f"{found.units}: {found.time_s * 1e6:.2f} us, {found.energy_j * 1e6:.1f} uJ"
    return Point(name, found.time_s * 1e6, found.energy_j * 1e6, shown)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/build/smollm2-4/model.onnx"))
    parser.add_argument("--machine", default="e2e-pim")
    parser.add_argument("--context", type=int, default=512, metavar="TOKENS")
    parser.add_argument("--exhaustive", action="store_true", help="also look for the best of all choices")
    parser.add_argument("--plot", type=Path, metavar="F", help="draw energy against time (.svg, .html, .png)")
    options = parser.parse_args()
    workload = Workload(options.model, load_machine(options.machine), options.context)
    rows = [(units, workload.measure(units)) for units in (*FORCED, "cost")]
    search = exhaustive(workload) if options.exhaustive else Search(0, (), ())
    rows += [(f"best of {search.number:,} choices", found) for found in search.best[:1]]
    title = f"{options.model} on {options.machine}, {options.context} tokens"
    print(title)
    print_rows(rows)
    if options.plot is not None:
        draw(options.plot, title, rows[:5], search.alike)


def print_rows(rows: Sequence[tuple[str, Measured]]) -> None:
    """Print the table."""
    least = min(found.product for _, found in rows)
    print(f"{'units':<36}{'us':>10} {'uJ':>10} {'EDP / nJ ms':>14} {'of best':>9}")
    for name, found in rows:
        print(line(name, found, least))


if __name__ == "__main__":
    end_with(main)
