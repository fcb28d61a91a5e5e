"""How far outputs of a corpus graph are from ONNX Runtime's, and which lengths they are compared at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from corpus_manifest import CorpusGraph

Array = np.ndarray

LENGTHS = {
    1: ((1, 0), (5, 0), (12, 0), (1, 1), (1, 7), (3, 7), (1, 33)),
    2: ((5, 0), (9, 0), (1, 1), (1, 7), (3, 33)),
}
"""New and past tokens by number of sequences."""
LONGEST = 40
"""Tokens that the compiled programs hold."""
BRANCH = "use_cache_branch"
"""The input of merged decoders that tells runs with and without a past apart."""


def branches_of(graph: CorpusGraph) -> tuple[bool | None, ...]:
    """Values to bind `BRANCH` to, one program each; a graph without that input is one program."""
    return (False, True) if any(tensor.name == BRANCH for tensor in graph.inputs) else (None,)


def lengths_of(graph: CorpusGraph, batch: int, branch: bool | None) -> list[tuple[int, int]]:
    """The lengths that a program of the graph can be run at."""
    fits = [each for each in LENGTHS[batch] if graph.allows(batch, *each)]
    return [(seq, past) for seq, past in fits if branch is None or (past > 0) == branch]


def programs_of(graph: CorpusGraph) -> Iterator[tuple[int, bool | None]]:
    """Sequences and branch of every program of the graph that has something to run."""
    for batch in LENGTHS:
        for branch in branches_of(graph):
            if lengths_of(graph, batch, branch):
                yield batch, branch


def bound_by(branch: bool | None) -> dict[str, Any]:
    """What is bound when compiling for a branch."""
    return {} if branch is None else {BRANCH: branch}


def unbound(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs that a compiled program still takes."""
    return {name: array for name, array in inputs.items() if name != BRANCH}


def symbols_of(graph: CorpusGraph, batch: int) -> dict[str, int]:
    """Numbers for the dimensions that must be bound, under the names that the exporter gives them."""
    values = {value.name: value for value in onnx.load(graph.path, load_external_data=False).graph.input}
    numbers = {}
    for tensor in graph.inputs:
        for known, dim in zip(tensor.dims, values[tensor.name].type.tensor_type.shape.dim, strict=True):
            if dim.dim_param and (known == "batch" or isinstance(known, int)):
                numbers[dim.dim_param] = batch if known == "batch" else known
    return numbers


def worst_error(selections: Mapping[str, Array], expected: Mapping[str, Array], found: Mapping[str, Array]) -> float:
    """The largest relative error of all outputs, infinite for a wrong shape."""
    worst = 0.0
    for name, array in expected.items():
        if name not in found or found[name].shape != array.shape:
            return float("inf")
        left, right = _selected(selections[name], array, found[name])
        if left.size:
            worst = float(np.maximum(worst, np.abs(left - right).max() / max(np.abs(left).max(), 1e-6)))
    return worst


def least_cosine(selections: Mapping[str, Array], expected: Mapping[str, Array], found: Mapping[str, Array]) -> float:
    """The smallest cosine between an output and its reference, as vectors of selected elements; -1: a wrong shape."""
    least = 1.0
    for name, array in expected.items():
        if name not in found or found[name].shape != array.shape:
            return -1.0
        left, right = _selected(selections[name], array, found[name])
        if left.size:
            lengths = np.linalg.norm(left) * np.linalg.norm(right)
            least = float(np.minimum(least, left @ right / max(lengths, 1e-12)))
    return least


def _selected(selection: Array, left: Array, right: Array) -> tuple[Array, Array]:
    chosen = np.broadcast_to(selection, left.shape)
    return left[chosen].astype(np.float64), right[chosen].astype(np.float64)
