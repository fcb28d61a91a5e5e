"""Experts that a graph chooses, made visible and then given, so that rounding and choosing are measured apart.

A mixture of experts is not continuous: where two experts score alike, the least rounding anywhere before them picks the
other one, and the token's outputs change by as much as the experts differ. So outputs are compared with the reference
for the *same* choices, and every choice that the reference would not have made itself must be a near tie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from corpus_manifest import CorpusGraph
from onnx import NodeProto, TensorProto, helper

from pimc.reference import Reference

Array = np.ndarray

NEAR_TIE = 2.0**-8
"""Probabilities that differ by no more than bf16 resolves just below 1 count as equal."""


@dataclass(frozen=True)
class Choice:
    """One choice of experts in a graph.

    Attributes:
        scores: name of the scores [tokens, experts] of the experts.
        experts: name of the numbers [tokens, k] of the chosen experts.
    """

    scores: str
    experts: str


class ChoiceReference:
    """A corpus graph on ONNX Runtime that takes its choices from elsewhere.

    Attributes:
        choices: the choices of the graph, in the order of its nodes; empty for a graph without any.
        shown: the graph with the chosen experts as further outputs.
    """

    def __init__(self, graph: CorpusGraph) -> None:
        """Loads the graph and rewrites both forms of it."""
        self.shown = onnx.load(graph.path)
        nodes = [node for node in self.shown.graph.node if node.op_type == "TopK"]
        self.choices = tuple(Choice(node.input[0], node.output[1]) for node in nodes)
        self._graph = graph
        self._given = Reference(_with_choices_given(self.shown, nodes)) if nodes else None
        self._free = Reference(graph.path)
        _forget_types(self.shown, {choice.experts for choice in self.choices})
        self.shown.graph.output.extend(_untyped(choice.experts, TensorProto.INT64) for choice in self.choices)

    def free(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs with the choices that ONNX Runtime makes itself."""
        return self._free.run(inputs)

    def given(self, inputs: Mapping[str, Array], found: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs, and scores by name, with the choices that are in `found`."""
        if self._given is None:
            return self.free(inputs)
        return self._given.run({**inputs, **{choice.experts: found[choice.experts] for choice in self.choices}})

    def distances(self, expected: Mapping[str, Array], found: Mapping[str, Array], tokens: Array) -> Array:
        """How far from a tie each changed choice was, of all choices that selected tokens made; empty: none changed.

        Args:
            expected: result of `given`.
            found: what the compiled program gave for `shown`.
            tokens: which tokens count, flat over sequences and tokens.
        """
        parts = [distance_from_tie(expected[each.scores], found[each.experts])[tokens] for each in self.choices]
        distances = np.concatenate(parts) if parts else np.zeros(0)
        return np.asarray(distances[distances > 0])


def distance_from_tie(scores: Array, chosen: Array) -> Array:
    """By how much the best expert left out scores above the worst one chosen, for each token; 0 where none does."""
    is_chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(is_chosen, chosen, True, axis=-1)
    left_out = np.where(is_chosen, -np.inf, scores).max(-1)
    return np.asarray(np.maximum(left_out - np.where(is_chosen, scores, np.inf).min(-1), 0))


def _with_choices_given(shown: onnx.ModelProto, nodes: list[NodeProto]) -> onnx.ModelProto:
    """The model with chosen experts as inputs in place of results, and their scores as further outputs."""
    model = onnx.ModelProto()
    model.CopyFrom(shown)
    names = {node.output[1] for node in nodes}
    for node in model.graph.node:
        if node.op_type == "TopK":
            values, experts = node.output
            node.CopyFrom(helper.make_node("GatherElements", [node.input[0], experts], [values], axis=-1))
    _forget_types(model, names)
    for original in nodes:
        model.graph.input.append(helper.make_tensor_value_info(original.output[1], TensorProto.INT64, [None, None]))
        _forget_types(model, {original.input[0]})
        model.graph.output.append(_untyped(original.input[0], TensorProto.FLOAT))
    return model


def _untyped(name: str, kind: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, None)


def _forget_types(model: onnx.ModelProto, names: set[str]) -> None:
    for value in [value for value in model.graph.value_info if value.name in names]:
        model.graph.value_info.remove(value)
