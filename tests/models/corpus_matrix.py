"""The corpus through the compiler: one line a graph, and a table of what is covered.

    python tests/models/corpus_matrix.py [--family llama ...] [--simulate fp32 machine] [--write docs/coverage.md]

Each graph is imported, fused and run by the graph interpreter at several lengths with ragged padding, and with
`--simulate` compiled and run on the simulator in the numerics that are named; every output is compared with ONNX
Runtime where padding leaves it alone. `--programs` adds a line a program: its errors, the time that compiling took, its
instructions and cycles.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "models")]

from corpus_choices import ChoiceReference  # noqa: E402
from corpus_inputs import random_case  # noqa: E402
from corpus_manifest import CorpusGraph, load_manifest  # noqa: E402
from corpus_measures import bound_by, lengths_of, programs_of, symbols_of, unbound, worst_error  # noqa: E402
from corpus_runs import ProgramRun, run_program  # noqa: E402
from coverage_table import coverage_document  # noqa: E402

from isa import PimcError  # noqa: E402
from passes import Graph, PassManager, explain, interpret, pipeline  # noqa: E402
from pimc.frontend import import_model  # noqa: E402

ATTENTIONS = {"attention", "cached_attention"}


@dataclass(frozen=True)
class How:
    """How graphs are run.

    Attributes:
        numerics: of the programs that are compiled: `fp32`, or `machine` for the hardware's own rounding, which is
            measured by the cosine.
        pipeline: name of the passes; blocks are counted where they fuse.
    """

    numerics: tuple[str, ...] = ()
    pipeline: str = "default"


@dataclass
class Cell:
    """What became of one graph.

    Attributes:
        graph: its row of the manifest.
        attention: attentions recognised.
        feed_forward: feed-forward blocks recognised.
        experts: blocks recognised that choose among experts.
        interpreted: largest relative error of the fused graph, of the interpreter.
        programs: what became of its programs.
        trouble: the first thing that went wrong, in words.
        how: how it was run.
    """

    graph: CorpusGraph
    attention: int = 0
    feed_forward: int = 0
    experts: int = 0
    interpreted: float | None = None
    programs: list[ProgramRun] = field(default_factory=list)
    trouble: str = ""
    how: How = How()

    def programs_in(self, numerics: str) -> list[ProgramRun]:
        """The programs of that rounding."""
        return [run for run in self.programs if run.numerics == numerics]

    @property
    def simulated(self) -> float | None:
        """Largest relative error of the programs in fp32, `None` when there are none."""
        return max((run.error for run in self.programs_in("fp32")), default=None)

    @property
    def worst(self) -> float:
        """The larger of both errors; NaN is worst."""
        return float(np.maximum(self.interpreted or 0.0, self.simulated or 0.0))

    @property
    def fused(self) -> bool:
        """Whether everything was recognised that the manifest says is there."""
        wanted = (self.graph.attention_blocks, self.graph.feed_forward_blocks, self.graph.expert_blocks)
        return self.how.pipeline == "O0" or (self.attention, self.feed_forward, self.experts) == wanted

    @property
    def reason(self) -> str:
        """Why it does not pass, without paths of this machine."""
        if self.trouble:
            return self.trouble.replace(f"{self.graph.path}: ", "")
        return "blocks are not recognised" if not self.fused else ""

    @property
    def passed(self) -> bool:
        """Whether nothing went wrong and everything was recognised."""
        return self.fused and not self.trouble


def check(graph: CorpusGraph, how: How = How()) -> Cell:
    """Runs one graph through the compiler; faults are told in the result."""
    cell = Cell(graph, how=how)
    try:
        reference = ChoiceReference(graph)
        for batch, branch in programs_of(graph):
            _check_graph(cell, reference, batch, branch)
            for numerics in how.numerics:
                cell.programs.append(ProgramRun(numerics, batch, branch))
                trouble = run_program(graph, reference, cell.programs[-1], how.pipeline != "O0")
                cell.trouble = cell.trouble or trouble
    except PimcError as error:
        cell.trouble = " ".join(str(error).split())
    except Exception as error:  # an internal error is what this looks for
        cell.trouble = f"internal error: {type(error).__name__}: {' '.join(str(error).split())}"
    return cell


def _check_graph(cell: Cell, reference: ChoiceReference, batch: int, branch: bool | None) -> None:
    """The fused graph on the interpreter."""
    graph = fuse(cell.graph, symbols_of(cell.graph, batch), bound_by(branch), cell.how.pipeline)
    cell.attention, cell.feed_forward, cell.experts = blocks_of(graph)
    for seq, past in lengths_of(cell.graph, batch, branch):
        case = random_case(cell.graph, batch, seq, past, seed=past)
        found = interpret(graph, unbound(case.inputs))
        error = worst_error(case.selections, reference.free(case.inputs), found)
        cell.interpreted = float(np.maximum(cell.interpreted or 0.0, error))
        if not error <= cell.graph.relative_tolerance and not cell.trouble:
            cell.trouble = f"differs by {error:.1e} at batch {batch}, {seq} new, {past} past"


def fuse(graph: CorpusGraph, dims: dict[str, int], bind: dict[str, Any], passes: str = "default") -> Graph:
    """Imports a graph and runs the passes of that name."""
    fused = import_model(graph.path, dims, bind)
    PassManager(pipeline(passes)).run(fused)
    return fused


def blocks_of(graph: Graph) -> tuple[int, int, int]:
    """How many attentions, dense feed-forward blocks and blocks of experts were recognised."""
    operations = [node.op for node in graph.nodes]
    experts = sum(finding.fused for finding in explain(graph) if finding.pattern == "experts")
    return sum(name in ATTENTIONS for name in operations), operations.count("feed_forward"), experts


def line_of(cell: Cell) -> str:
    """One line of the matrix."""
    graph, rounded = cell.graph, cell.programs_in("machine")
    return (
        f"{'ok  ' if cell.passed else 'FAIL'} {graph.name:44} "
        f"attention {cell.attention}/{graph.attention_blocks}  "
        f"feed-forward {cell.feed_forward}/{graph.feed_forward_blocks}  "
        f"graph {_shown(cell.interpreted)}  simulator {_shown(cell.simulated)}  "
        f"{f'cosine {min(run.cosine for run in rounded):.5f}  ' if rounded else ''}{cell.reason[:200]}"
    ).rstrip()


def _shown(error: float | None) -> str:
    return f"{'-' if error is None else f'{error:.0e}':5}"


def _json_of(cell: Cell) -> str:
    facts = {name: value for name, value in asdict(cell).items() if name not in ("graph", "how")}
    return json.dumps({"name": cell.graph.name, "passed": cell.passed, **facts})


def _wanted(options: argparse.Namespace) -> Iterator[CorpusGraph]:
    for graph in load_manifest():
        is_family = not options.family or graph.family in options.family
        if is_family and (not options.exporter or graph.exporter in options.exporter):
            yield graph


def _count(cells: Sequence[Cell]) -> str:
    """The closing line."""
    passed = sum(cell.passed for cell in cells)
    found = sum(min(cell.attention, cell.graph.attention_blocks) for cell in cells)
    programs = sum(len(cell.programs) for cell in cells)
    attentions = sum(cell.graph.attention_blocks for cell in cells)
    return f"{passed} of {len(cells)} graphs pass; {programs} programs; {found} of {attentions} attentions"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", nargs="+", help="which models (default: all)")
    parser.add_argument("--exporter", nargs="+", help="by which exporters (default: all)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table of docs/coverage.md to FILE")
    parser.add_argument("--simulate", nargs="+", choices=("fp32", "machine"), default=(), help="run programs, too")
    parser.add_argument("--pipeline", choices=("default", "O0"), default="default", help="O0: without fusion")
    parser.add_argument("--programs", action="store_true", help="print a line a program, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object a graph instead")
    return parser


def _lines(cell: Cell, options: argparse.Namespace) -> Iterable[str]:
    if options.json:
        return [_json_of(cell)]
    return [line_of(cell), *(run.line() for run in cell.programs if options.programs)]


def main() -> int:
    """Prints the matrix and its count; returns 1 when a cell fails."""
    options = _parser().parse_args()
    how = How(tuple(options.simulate), options.pipeline)
    logging.disable(logging.WARNING)
    cells = []
    for graph in _wanted(options):
        cells.append(check(graph, how))
        print("\n".join(_lines(cells[-1], options)), flush=True)
    if options.write is not None:
        options.write.write_text(coverage_document(cells), encoding="utf-8")
    if not options.json:
        print(_count(cells))
    return 0 if all(cell.passed for cell in cells) else 1


if __name__ == "__main__":
    raise SystemExit(main())
