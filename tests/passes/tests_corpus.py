"""Graphs of the corpus as the passes get them, and their inputs and expected outputs."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from corpus_inputs import Case, random_case
from corpus_manifest import CorpusGraph, load_manifest

from passes import Graph
from passes.interpreter.operations import Array
from pimc.frontend import import_model, load_model

GRAPHS = load_manifest()
BATCH = 2


def imported(graph: CorpusGraph) -> Graph:
    """The graph with two sequences; a merged decoder in its form with a past."""
    proto = onnx.load(str(graph.path))
    kinds = {value.name: value.type.tensor_type.shape.dim for value in proto.graph.input}
    dims: dict[str, int] = {}
    for tensor in graph.inputs:
        for named, size in zip(kinds[tensor.name], tensor.dims, strict=True):
            if named.dim_param and (size == "batch" or isinstance(size, int)):
                dims[named.dim_param] = size if isinstance(size, int) else BATCH
    bind = {"use_cache_branch": True} if graph.mode == "decoder_merged" else None
    return import_model(load_model(str(graph.path)), dims, bind=bind)


def batch_of(graph: CorpusGraph) -> int:
    """Sequences that the graph can be run with: two where it leaves that open."""
    first = (tensor.dims[0] for tensor in graph.inputs if len(tensor.dims) > 1)
    return next((size for size in first if isinstance(size, int)), BATCH)


def lengths_of(graph: CorpusGraph) -> list[tuple[int, int]]:
    """New tokens and tokens in the cache of some runs."""
    wanted = [(3, 7), (1, 33), (1, 0), (5, 0)]
    fits = [(seq, past) for seq, past in wanted if graph.allows(batch_of(graph), seq, past)]
    return [(seq, past) for seq, past in fits if past or graph.mode != "decoder_merged"][:2]


def case_of(graph: CorpusGraph, seq: int, past: int) -> Case:
    """Random inputs with ragged padding."""
    return random_case(graph, batch_of(graph), seq, past, seed=seq + past)


def taken(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs that an imported graph has."""
    return {name: array for name, array in inputs.items() if name in graph.signature}


def reference(graph: CorpusGraph) -> onnxruntime.InferenceSession:
    """The graph in ONNX Runtime as it stands: some of its own rewrites quantise what products of 4 bit weights take."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(graph.path), options, providers=["CPUExecutionProvider"])


def difference(case: Case, name: str, expected: Array, found: Array) -> float:
    """Largest difference at unmasked places, relative to the largest expected element there."""
    chosen = np.broadcast_to(case.selections[name], expected.shape)
    if not chosen.any():
        return 0.0
    left, right = (array[chosen].astype(np.float64) for array in (expected, found))
    return float(np.abs(left - right).max() / max(np.abs(left).max(), 1e-6))
