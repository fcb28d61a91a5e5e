"""Comparison of a program of several models whose decoder compresses its cache with the policies' meaning in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isa import Program
from passes import Caches, Compression, Graph, cached_tokens, interpret
from pimc.folder_runs import Case, given_runs, seeded_runs
from pimc.folder_verification import FolderComparison
from pimc.model_folder import ModelFolder
from pimc.policy_verification import (
    MEANING,
    compressions_of,
    policy_cosine,
    policy_length,
    policy_tolerance,
    reach,
    rounding_notes,
    storing,
)
from pimc.verification import Verification

if TYPE_CHECKING:
    from pimc.simulator import Session

Array = NDArray[Any]

_ENCODED, _DECODED = 6, 3


@dataclass
class _Shared:
    """What the graphs of a folder leave for each other.

    Attributes:
        first: The entry with which a sequence begins.
        numerics: Of the program.
        held: Keys and values by what past inputs and present outputs have in common.
        longest: Tokens of the longest sequence so far.
    """

    first: str
    numerics: str
    held: Caches = field(default_factory=dict)
    longest: int = 0


@dataclass(frozen=True)
class _EntryInNumpy:
    """One graph of a folder, as `FolderComparison` asks for it.

    Attributes:
        entry: Its entry.
        graph: The graph.
        shared: What it finds, and what it leaves.
        inputs: Names of the inputs that it does not find there.
    """

    entry: str
    graph: Graph
    shared: _Shared
    inputs: tuple[str, ...]

    @classmethod
    def of(cls, entry: str, graph: Graph, shared: _Shared) -> _EntryInNumpy:
        resident = {name for cache in graph.caches.values() for name in (cache.past_key, cache.past_value)}
        inputs = tuple(value.name for value in graph.inputs if value.name not in resident)
        return cls(entry, graph, shared, inputs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of the next run but for keys and values, which hold what the policies keep."""
        if self.entry == self.shared.first:
            self.shared.held.clear()
        given = {name: array for name, array in inputs.items() if name in self.inputs}
        stems = {name: cache.shared_name for name, cache in self.graph.caches.items()}
        caches: Caches = {name: self.shared.held[stem] for name, stem in stems.items() if stem in self.shared.held}
        found = interpret(self.graph, given, caches=caches, stored=storing(self.shared.numerics))
        self.shared.held.update({stem: caches[name] for name, stem in stems.items() if stem and name in caches})
        self.shared.longest = max(self.shared.longest, cached_tokens(self._compressed(caches)))
        return {name: found[name] for name in self.graph.outputs}

    def _compressed(self, caches: Caches) -> Caches:
        return {name: held for name, held in caches.items() if self.graph.caches[name].compression is not None}


def verify_folder_policies(
    program: Program,
    session: Session,
    folder: ModelFolder,
    graphs: Sequence[Graph],
    inputs: Mapping[str, Array] | None = None,
    rtol: float | None = None,
    seed: int = 0,
    show: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Compare a program with the numpy meaning of the graphs that it was made from: encode, prefill, many decode steps.

    Args:
        program: The compiled folder.
        session: The program, loaded into the simulator.
        folder: The models.
        graphs: What the passes left of each model, in the order of the folder.
        inputs: Arrays by `ENTRY/NAME`, for one run of each entry; `None` makes seeded ones that are long enough for
            every policy to act, as far as the context allows.
        rtol: Largest error allowed, relative to the largest magnitude of the reference output; default:
            `policy_tolerance`.
        seed: Of the inputs.
        show: Gets one line about the progress before every case.

    Raises:
        InputError: inputs have names that no entry has.
    """
    shared = _Shared(folder.files[0].entry, program.numerics)
    entries = {
        file.entry: _EntryInNumpy.of(file.entry, graph, shared)
        for file, graph in zip(folder.files, graphs, strict=True)
    }
    comparison = FolderComparison(program, session, entries, folder)
    compressions = compressions_of(graphs[-1])
    if inputs is not None:
        comparison.run(given_runs(program, inputs))
        lines = ["the given inputs"]
    else:
        generator, cases = np.random.default_rng(seed), _cases(program, compressions)
        lines = [str(case) for case in cases]
        for number, (case, line) in enumerate(zip(cases, lines, strict=True), start=1):
            show(f"case {number} of {len(cases)}: {line}")
            comparison.run(seeded_runs(program, case, generator))
    rtol = policy_tolerance(program.numerics, graphs) if rtol is None else rtol
    notes = (reach(compressions, shared.longest), *rounding_notes(program.numerics, graphs))
    found = tuple(comparison.errors.values())
    return Verification(found, rtol, tuple(lines), MEANING, notes, policy_cosine(graphs))


def _cases(program: Program, compressions: Sequence[Compression]) -> list[Case]:
    """All but a few tokens as a prompt, and one prompted token with the others decoded."""
    longest = int(program.metadata["max_context"])
    total = min(policy_length(compressions), longest - _DECODED)
    encoded = min(_ENCODED, longest)
    return [Case(encoded, total, _DECODED), Case(encoded, 1, total - 1 + _DECODED)]
