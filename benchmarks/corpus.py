"""The programs of the corpus: errors, compile time, instructions and cycles, one line a graph and batch.

    python -m benchmarks.corpus [--family llama ...] [--numerics machine] [-O0] [--json]

Every program runs at all lengths of `tests/models/corpus_matrix.py`, whose command tells in docs/coverage.md what was
recognised; cycles are those of the last run. Ends with exit code 1 when a cell fails.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "models"), str(ROOT / "tests" / "models")]

from corpus_inputs import random_case  # noqa: E402
from corpus_manifest import CorpusGraph, load_manifest  # noqa: E402
from corpus_matrix import LEAST_COSINE, LENGTHS, LONGEST, least_cosine, symbols_of, worst_error  # noqa: E402

from isa import PimcError, load_machine  # noqa: E402
from pimc.compiler import compile_model  # noqa: E402
from pimc.reference import Reference  # noqa: E402
from pimc.simulator import Session  # noqa: E402

_BOUND = "use_cache_branch"


@dataclass
class Cell:
    """What became of one program.

    Attributes:
        name: The graph's.
        batch: Sequences.
        branch: Value bound to the input that tells decoders with and without a past apart, if there is one.
        error: Largest relative error of all runs; measured but not judged in the machine's own rounding.
        cosine: Smallest cosine of an output with its reference.
        compile_seconds: CPU time of compiling.
        instructions: Of the program.
        cycles: Of the last run.
        trouble: What is wrong, in words; empty for a cell that passes.
    """

    name: str
    batch: int
    branch: bool | None
    error: float = 0.0
    cosine: float = 1.0
    compile_seconds: float = 0.0
    instructions: int = 0
    cycles: int = 0
    trouble: str = ""

    def line(self) -> str:
        """The cell on one line."""
        title = f"{self.name} x{self.batch}{'' if self.branch is None else f' {_BOUND}={self.branch}'}"
        return (
            f"{'FAIL' if self.trouble else 'ok  '} {title:52} error {self.error:7.1e}  cosine {self.cosine:.6f}  "
            f"{self.compile_seconds:5.2f} s  {self.instructions:6,} instructions  {self.cycles:9,} cycles  "
            f"{self.trouble}"
        ).rstrip()


def cells_of(graph: CorpusGraph, numerics: str, optimize: bool) -> Iterator[Cell]:
    """The graph's programs, each run at all lengths."""
    is_merged = any(tensor.name == _BOUND for tensor in graph.inputs)
    for batch, wanted in LENGTHS.items():
        for branch in (False, True) if is_merged else (None,):
            fits = [each for each in wanted if graph.allows(batch, *each)]
            lengths = [(seq, past) for seq, past in fits if branch is None or (past > 0) == branch]
            if lengths:
                yield _cell(graph, Cell(graph.name, batch, branch), lengths, numerics, optimize)


def _cell(graph: CorpusGraph, cell: Cell, lengths: Sequence[tuple[int, int]], numerics: str, optimize: bool) -> Cell:
    bind: dict[str, Any] = {} if cell.branch is None else {_BOUND: cell.branch}
    try:
        machine = load_machine("gddr6-aim")
        started = time.process_time()
        dims = symbols_of(graph, cell.batch)
        program = compile_model(
            graph.path, machine, dims, max_context=LONGEST, numerics=numerics, optimize=optimize, bind=bind
        )
        cell.compile_seconds, cell.instructions = time.process_time() - started, len(program.code)
        session = Session(program, machine)
        for seq, past in lengths:
            _run(graph, cell, session, seq, past)
    except PimcError as error:
        cell.trouble = " ".join(str(error).split())
    exact = cell.error <= graph.relative_tolerance
    kept = cell.cosine >= LEAST_COSINE and (exact or numerics == "machine")
    cell.trouble = cell.trouble or ("" if kept else "differs from the reference")
    return cell


def _run(graph: CorpusGraph, cell: Cell, session: Session, seq: int, past: int) -> None:
    case = random_case(graph, cell.batch, seq, past, seed=past)
    expected = Reference(graph.path).run(case.inputs)
    session.reset()
    found = session.run({name: array for name, array in case.inputs.items() if name != _BOUND})
    cell.error = float(np.maximum(cell.error, worst_error(case.selections, expected, found)))
    cell.cosine = float(np.minimum(cell.cosine, least_cosine(case.selections, expected, found)))
    cell.cycles = session.statistics.cycles


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the matrix and its count; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__.splitlines()[0])
    parser.add_argument("--family", nargs="+", help="which models (default: all)")
    parser.add_argument("--numerics", choices=("fp32", "machine"), default="fp32", help="of the programs")
    parser.add_argument("-O0", dest="optimize", action="store_false", help="without the optional passes")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    count = failed = 0
    for graph in load_manifest():
        if options.family and graph.family not in options.family:
            continue
        for cell in cells_of(graph, options.numerics, options.optimize):
            count, failed = count + 1, failed + bool(cell.trouble)
            print(json.dumps(asdict(cell)) if options.json else cell.line(), flush=True)
    if not options.json:
        print(f"{count - failed} of {count} programs agree with ONNX Runtime")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
