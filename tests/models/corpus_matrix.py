"""The corpus through the compiler: one line a graph, and a table of what is covered.

    python tests/models/corpus_matrix.py [--family llama ...] [--simulate] [--write docs/coverage.md]

Each graph is imported, fused, run by the graph interpreter at several lengths with ragged padding, and with
`--simulate` compiled and run on the simulator; every output is compared with ONNX Runtime where padding leaves it
alone.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "models")]

from corpus_inputs import Case, random_case  # noqa: E402
from corpus_manifest import CorpusGraph, load_manifest  # noqa: E402
from coverage_table import coverage_document  # noqa: E402

import pimc  # noqa: E402
from isa import PimcError  # noqa: E402
from passes import Graph, PassManager, explain, interpret, pipeline  # noqa: E402
from pimc.frontend import import_model  # noqa: E402
from pimc.simulator import Session  # noqa: E402

LENGTHS = {
    1: ((1, 0), (5, 0), (12, 0), (1, 1), (1, 7), (3, 7), (1, 33)),
    2: ((5, 0), (1, 1), (1, 7), (3, 33)),
}
"""New and past tokens by number of sequences."""
LEAST_COSINE = 0.999
LONGEST = 40
"""Tokens that the compiled programs hold."""
ATTENTIONS = {"attention", "cached_attention"}


@dataclass(frozen=True)
class How:
    """How graphs are run.

    Attributes:
        simulate: whether on the simulator, too.
        numerics: `fp32`, or `machine` for the hardware's own rounding, which is measured by the cosine.
        pipeline: name of the passes; blocks are counted where they fuse.
    """

    simulate: bool = False
    numerics: str = "fp32"
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
        simulated: the same of the compiled program.
        cosine: smallest cosine of an output on the simulator with its reference.
        trouble: the first thing that went wrong, in words.
        how: how it was run.
    """

    graph: CorpusGraph
    attention: int = 0
    feed_forward: int = 0
    experts: int = 0
    interpreted: float | None = None
    simulated: float | None = None
    cosine: float = 1.0
    trouble: str = ""
    how: How = How()

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
        for batch in LENGTHS:
            _check_batch(cell, batch)
    except PimcError as error:
        cell.trouble = " ".join(str(error).split())
    except Exception as error:  # an internal error is what this looks for
        cell.trouble = f"internal error: {type(error).__name__}: {' '.join(str(error).split())}"
    return cell


def _check_batch(cell: Cell, batch: int) -> None:
    cases = [each for each in LENGTHS[batch] if cell.graph.allows(batch, *each)]
    for bind, part in _by_branch(cell.graph, cases):
        if not part:
            continue
        dims = symbols_of(cell.graph, batch)
        graph = fuse(cell.graph, dims, bind, cell.how.pipeline)
        cell.attention, cell.feed_forward, cell.experts = blocks_of(graph)
        session = _session(cell, dims, bind) if cell.how.simulate else None
        for seq, past in part:
            _check_case(cell, graph, session, random_case(cell.graph, batch, seq, past, seed=past), bind)
            cell.trouble = cell.trouble or _trouble(cell, f"at batch {batch}, {seq} new, {past} past")


def _trouble(cell: Cell, where: str) -> str:
    """What is wrong with the numbers so far; nothing is an empty text."""
    if not cell.worst <= cell.graph.relative_tolerance:
        return f"differs by {cell.worst:.1e} {where}"
    return "" if cell.cosine >= LEAST_COSINE else f"has a cosine of {cell.cosine:.5f} {where}"


def _check_case(cell: Cell, graph: Graph, session: Session | None, case: Case, bind: dict[str, Any]) -> None:
    expected = reference(cell.graph, case.inputs)
    inputs = {name: value for name, value in case.inputs.items() if name not in bind}
    error = worst_error(case.selections, expected, interpret(graph, inputs))
    cell.interpreted = float(np.maximum(cell.interpreted or 0.0, error))
    if session is not None:
        session.reset()
        found = session.run(inputs)
        cell.cosine = float(np.minimum(cell.cosine, least_cosine(case.selections, expected, found)))
        if cell.how.numerics == "fp32":
            cell.simulated = float(np.maximum(cell.simulated or 0.0, worst_error(case.selections, expected, found)))


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


def _session(cell: Cell, dims: dict[str, int], bind: dict[str, Any]) -> Session:
    machine = pimc.load_machine("gddr6-aim")
    program = pimc.compile(
        cell.graph.path,
        machine,
        dims=dims,
        max_context=LONGEST,
        numerics=cell.how.numerics,
        optimize=cell.how.pipeline != "O0",
        bind=bind,
    )
    return Session(program, machine)


def symbols_of(graph: CorpusGraph, batch: int) -> dict[str, int]:
    """Numbers for the dimensions that must be bound, under the names that the exporter gives them."""
    values = {value.name: value for value in onnx.load(graph.path, load_external_data=False).graph.input}
    numbers = {}
    for tensor in graph.inputs:
        for known, dim in zip(tensor.dims, values[tensor.name].type.tensor_type.shape.dim, strict=True):
            if dim.dim_param and (known == "batch" or isinstance(known, int)):
                numbers[dim.dim_param] = batch if known == "batch" else known
    return numbers


def _by_branch(
    graph: CorpusGraph, cases: list[tuple[int, int]]
) -> Iterator[tuple[dict[str, Any], list[tuple[int, int]]]]:
    """What has to be bound at compile time, and the cases that belong to it: a merged decoder is two programs."""
    if not any(tensor.name == "use_cache_branch" for tensor in graph.inputs):
        yield {}, cases
        return
    for branch in (False, True):
        yield {"use_cache_branch": branch}, [(seq, past) for seq, past in cases if (past > 0) == branch]


def reference(graph: CorpusGraph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime computes, without the rewrites that round activations."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(str(graph.path), options, providers=["CPUExecutionProvider"])
    return dict(zip([tensor.name for tensor in graph.outputs], session.run(None, inputs), strict=True))


def worst_error(
    selections: dict[str, np.ndarray], expected: dict[str, np.ndarray], found: dict[str, np.ndarray]
) -> float:
    """The largest relative error of all outputs, infinite for a wrong shape."""
    worst = 0.0
    for name, array in expected.items():
        if name not in found or found[name].shape != array.shape:
            return float("inf")
        chosen = np.broadcast_to(selections[name], array.shape)
        if chosen.any():
            left, right = array[chosen].astype(np.float64), found[name][chosen].astype(np.float64)
            worst = float(np.maximum(worst, np.abs(left - right).max() / max(np.abs(left).max(), 1e-6)))
    return worst


def least_cosine(
    selections: dict[str, np.ndarray], expected: dict[str, np.ndarray], found: dict[str, np.ndarray]
) -> float:
    """The smallest cosine between an output and its reference, as vectors of selected elements; -1: a wrong shape."""
    least = 1.0
    for name, array in expected.items():
        if name not in found or found[name].shape != array.shape:
            return -1.0
        chosen = np.broadcast_to(selections[name], array.shape)
        if chosen.any():
            left, right = array[chosen].astype(np.float64), found[name][chosen].astype(np.float64)
            lengths = np.linalg.norm(left) * np.linalg.norm(right)
            least = float(np.minimum(least, left @ right / max(lengths, 1e-12)))
    return least


def line_of(cell: Cell) -> str:
    """One line of the matrix."""
    graph = cell.graph
    return (
        f"{'ok  ' if cell.passed else 'FAIL'} {graph.name:44} "
        f"attention {cell.attention}/{graph.attention_blocks}  "
        f"feed-forward {cell.feed_forward}/{graph.feed_forward_blocks}  "
        f"graph {_shown(cell.interpreted)}  simulator {_shown(cell.simulated)}  "
        f"{f'cosine {cell.cosine:.5f}  ' if cell.how.numerics == 'machine' else ''}{cell.reason[:200]}"
    ).rstrip()


def _shown(error: float | None) -> str:
    return f"{'-' if error is None else f'{error:.0e}':5}"


def main() -> int:
    """Prints the matrix and its count; returns 1 when a cell fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", nargs="+", help="which models (default: all)")
    parser.add_argument("--exporter", nargs="+", help="by which exporters (default: all)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table of docs/coverage.md to FILE")
    parser.add_argument("--simulate", action="store_true", help="run the compiled programs too")
    parser.add_argument("--numerics", choices=("fp32", "machine"), default="fp32", help="of the compiled programs")
    parser.add_argument("--pipeline", choices=("default", "O0"), default="default", help="O0: without fusion")
    options = parser.parse_args()
    how = How(options.simulate, options.numerics, options.pipeline)
    logging.disable(logging.WARNING)
    cells = []
    for graph in load_manifest():
        if options.family and graph.family not in options.family:
            continue
        if options.exporter and graph.exporter not in options.exporter:
            continue
        cells.append(check(graph, how))
        print(line_of(cells[-1]), flush=True)
    if options.write is not None:
        options.write.write_text(coverage_document(cells), encoding="utf-8")
    passed = sum(cell.passed for cell in cells)
    found = sum(min(cell.attention, cell.graph.attention_blocks) for cell in cells)
    print(f"{passed} of {len(cells)} graphs pass; {found} of {sum(c.graph.attention_blocks for c in cells)} attentions")
    return 0 if passed == len(cells) else 1


if __name__ == "__main__":
    raise SystemExit(main())
