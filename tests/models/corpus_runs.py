"""A corpus graph as compiled programs, each run at all of its lengths and compared with ONNX Runtime."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from corpus_choices import NEAR_TIE, ChoiceReference
from corpus_inputs import Case, random_case
from corpus_manifest import CorpusGraph
from corpus_measures import LONGEST, bound_by, least_cosine, lengths_of, symbols_of, unbound, worst_error

from isa import load_machine
from pimc.compiler import compile_model
from pimc.simulator import Session

Array = np.ndarray

LEAST_COSINE = 0.999
"""Of every output of a float model in the machine's own rounding."""
LEAST_EXACT_COSINE = 0.9999
"""Of every output in fp32."""


@dataclass
class ProgramRun:
    """What became of one program.

    Attributes:
        numerics: `fp32` or `machine`.
        batch: sequences.
        branch: value bound to the input that tells decoders with and without a past apart, if there is one.
        error: largest relative error of all runs; judged in fp32 only.
        cosine: smallest cosine of an output with its reference for the same choices of experts.
        free_cosine: the same with the reference's own choices.
        changed_choices: choices of experts that the reference makes differently.
        tie_distance: the largest difference of scores among those.
        compile_seconds: CPU time of compiling.
        instructions: of the program.
        cycles: of the last run.
    """

    numerics: str
    batch: int
    branch: bool | None
    error: float = 0.0
    cosine: float = 1.0
    free_cosine: float = 1.0
    changed_choices: int = 0
    tie_distance: float = 0.0
    compile_seconds: float = 0.0
    instructions: int = 0
    cycles: int = 0

    def trouble(self, graph: CorpusGraph) -> str:
        """What is wrong with the numbers so far; nothing is an empty text."""
        if not self.tie_distance <= NEAR_TIE:
            return f"chooses an expert that scores {self.tie_distance:.1e} less"
        is_exact = self.numerics == "fp32"
        if is_exact and not self.error <= graph.relative_tolerance:
            return f"differs by {self.error:.1e}"
        if self.cosine >= (LEAST_EXACT_COSINE if is_exact else LEAST_COSINE) or (is_quantised(graph) and not is_exact):
            return ""
        return f"has a cosine of {self.cosine:.5f}"

    def line(self) -> str:
        """The program on one line."""
        branch = "" if self.branch is None else f" {'with' if self.branch else 'without'} past"
        changed = f"  {self.changed_choices} near ties chosen otherwise" if self.changed_choices else ""
        return (
            f"       {self.numerics} x{self.batch}{branch}: error {self.error:.1e}  cosine {self.cosine:.6f}  "
            f"{self.compile_seconds:.2f} s  {self.instructions:,} instructions  {self.cycles:,} cycles{changed}"
        )


def is_quantised(graph: CorpusGraph) -> bool:
    """Whether activations are rounded to integer codes: no float model, and not continuous.

    bf16 moves values across the steps of their codes, by as much as quantising itself moved the model's outputs
    (docs/coverage.md), so these graphs have no bar in the machine's own rounding.
    """
    return any(graph.name.endswith(kind) for kind in ("-int8", "-qdq", "-qoperator"))


class CorpusProgram:
    """A compiled program of a corpus graph with its reference.

    Attributes:
        run: what became of it so far.
    """

    def __init__(
        self,
        graph: CorpusGraph,
        reference: ChoiceReference,
        run: ProgramRun,
        optimize: bool = True,
    ) -> None:
        """Compiles the program that `run` names."""
        self.run, self._reference = run, reference
        self._is_rounded = run.numerics == "machine"
        machine = load_machine("gddr6-aim")
        started = time.process_time()
        program = compile_model(
            reference.shown if self._is_rounded else graph.path,
            machine,
            symbols_of(graph, run.batch),
            max_context=LONGEST,
            numerics=run.numerics,
            optimize=optimize,
            bind=bound_by(run.branch),
        )
        run.compile_seconds, run.instructions = time.process_time() - started, len(program.code)
        self._session = Session(program, machine)

    def compare(self, case: Case) -> None:
        """Runs one case from an empty cache and notes the differences."""
        run, selections = self.run, case.selections
        self._session.reset()
        found = self._session.run(unbound(case.inputs))
        run.cycles = self._session.statistics.cycles
        free = self._reference.free(case.inputs)
        run.error = float(np.maximum(run.error, worst_error(selections, free, found)))
        run.free_cosine = float(np.minimum(run.free_cosine, least_cosine(selections, free, found)))
        given = self._reference.given(case.inputs, found) if self._is_rounded else free
        expected = {name: given[name] for name in free}
        run.cosine = float(np.minimum(run.cosine, least_cosine(selections, expected, found)))
        if self._is_rounded:
            self._note_choices(case, given, found)

    def _note_choices(self, case: Case, given: dict[str, Array], found: dict[str, Array]) -> None:
        run = self.run
        distances = self._reference.distances(given, found, selected_tokens(case))
        run.changed_choices += len(distances)
        run.tie_distance = float(np.maximum(run.tie_distance, distances.max(initial=0.0)))


def selected_tokens(case: Case) -> Array:
    """Which tokens count, flat over sequences and tokens; of a graph without tokens nothing."""
    ids, chosen = case.inputs.get("input_ids"), case.selections.get("logits")
    if ids is None or chosen is None:
        return np.zeros(0, bool)
    return np.broadcast_to(chosen[..., 0], ids.shape).reshape(-1)


def run_program(graph: CorpusGraph, reference: ChoiceReference, run: ProgramRun, optimize: bool = True) -> str:
    """Runs one program at all of its lengths; returns what went wrong first, or nothing."""
    program = CorpusProgram(graph, reference, run, optimize)
    for seq, past in lengths_of(graph, run.batch, run.branch):
        program.compare(random_case(graph, run.batch, seq, past, seed=past))
        if trouble := run.trouble(graph):
            return f"{trouble} at batch {run.batch}, {seq} new, {past} past"
    return ""
