"""Attention on its input X instead of keys and values: Q K^T = (Q W_K^T) X^T and S V = (S X) W_V."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from isa import InputError
from passes.decomposition_costs import ArrayTimes, Cost, shape_of, written_keys, written_x
from passes.explain import record
from passes.ir import Graph, Node, TensorType, Value
from passes.recognition.attention_projections import Projections, linear_part, projections_of
from passes.recognition.matching import Refusal
from passes.rewriting import add, replace

CHOICES = ("cost", "all", "none")
"""Values of the option `choose`."""
CACHES = ("keys", "x")
"""Values of the option `cache`."""


@dataclass(frozen=True)
class DecomposeAttention:
    """Let attention work on the value X that its keys and values are projections of, where that is legal and pays.

    Precondition: attention is fused, `kv_cache` has not run; projections are single `linear` nodes (`select_columns`
    has run, `merge_linear` has not).
    Effect: a chosen `attention` gets the query R = Q W_K^T and X both as keys and as values, as one key head that all
    query heads share; its result goes through W_V, head by head. b_Q stays in Q, b_K is the same for all scores of a
    query and drops, b_V comes with W_V, as the weights of a query add up to 1 (a query that no key serves gets b_V
    instead of zeros). Legal without any operation between projection and scores (rotary embeddings, norms of keys),
    where nobody else needs the keys or values; without past keys, unless `cache=x` says that X of earlier tokens takes
    the place of their keys and values: inputs and outputs of the cache keep their names, and hold X [B, 1, P, d].
    `choose=cost` decides by time on crossbars:
    `vector_ps` for a vector through arrays, `write_ps` for a column of cells (0: as the machine has it), `copies` of X,
    `pipelined` rows, writes of X in the shadow of other work when `hidden`, `tokens` where the length is not known.
    `choose=all` takes what is legal, `choose=none` nothing.
    Postcondition: neither keys nor values of a chosen attention are computed.
    """

    choose: str = "cost"
    vector_ps: int = 0
    write_ps: int = 0
    copies: int = 1
    pipelined: bool = True
    hidden: bool = False
    tokens: int = 128
    cache: str = "keys"

    name: ClassVar[str] = "decompose_attention"
    optional: ClassVar[bool] = True
    reassociates: ClassVar[bool] = True

    def run(self, graph: Graph) -> bool:
        """Decide for every attention; returns whether one was decomposed."""
        self._check()
        decisions: dict[str, int] = {}
        shapes: dict[str, list[str]] = {}
        chosen = 0
        for node in graph.nodes:
            if node.op != "attention":
                continue
            try:
                found = projections_of(graph, node, self.cache == "x")
            except Refusal as refusal:
                decisions[f"{_title(node)}: not legal: {refusal}"] = 1
                continue
            pays, costs = self._decide(node, found)
            decisions[f"{_title(node)}: legal, {'decomposed' if pays else 'left as it is'}: {costs}"] = 1
            if pays:
                shapes |= _rewrite(graph, node, found)
                chosen += 1
        record(graph, self.name, {"attention on X": chosen})
        graph.facts[self.name] |= {"details": decisions, "x_cache": shapes}
        return chosen > 0

    def _check(self) -> None:
        if self.choose not in CHOICES:
            raise InputError(
                f"option 'choose' of pass '{self.name}' is '{self.choose}'", help=f"choices: {', '.join(CHOICES)}"
            )
        if self.cache not in CACHES:
            raise InputError(
                f"option 'cache' of pass '{self.name}' is '{self.cache}'", help=f"choices: {', '.join(CACHES)}"
            )
        for name in ("copies", "tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"option '{name}' of pass '{self.name}' must be positive")
        for name in ("vector_ps", "write_ps"):
            if getattr(self, name) < 0:
                raise InputError(f"option '{name}' of pass '{self.name}' must not be negative")
        if self.choose == "cost" and not self._has_times:
            raise InputError(
                f"pass '{self.name}' knows no times of crossbars to decide by",
                help="choose a machine with crossbars, give vector_ps and write_ps, or choose=all",
            )

    @property
    def _has_times(self) -> bool:
        return self.vector_ps > 0 and self.write_ps > 0

    def _decide(self, node: Node, found: Projections) -> tuple[bool, str]:
        """Whether to decompose, and the comparison in words."""
        how = {"cost": "by time", "all": "as choose=all says", "none": "as choose=none says"}[self.choose]
        if not self._has_times:
            return self.choose == "all", how
        times = ArrayTimes(self.vector_ps, self.write_ps, self.copies, self.pipelined, self.hidden)
        shape = shape_of(node, found, self.tokens)
        keys, x = written_keys(shape, times), written_x(shape, times)
        words = f"{how}; at {shape.tokens} tokens keys and values take {keys}, X takes {x}"
        return self._pays(keys, x), words

    def _pays(self, keys: Cost, x: Cost) -> bool:
        return self.choose == "all" or (self.choose == "cost" and x.time_ps < keys.time_ps)


def _title(node: Node) -> str:
    return f"{node.name} ({node.origins[0]})" if node.origins else node.name


_Map = tuple[Value, ...]
"""Matrix [I, O], and a bias [O] if there is one."""


def _rewrite(graph: Graph, node: Node, found: Projections) -> dict[str, list[str]]:
    """Replace one attention by products with W_K^T, attention on X, and products with W_V.

    Returns:
        The shapes that inputs and outputs of the cache had, by name.
    """
    heads, kv_heads = int(node.attributes["heads"]), int(node.attributes["kv_heads"])
    query, part = node.operand(0), linear_part(node.operand(0))
    query = query if part is None else part.alone(graph, query)
    to_x: list[_Map] = [
        (found.key.constant(graph, "to_x", matrix.T, 1),) for matrix in np.split(found.key.matrix, kv_heads, axis=1)
    ]
    from_x: list[_Map] = [
        (found.value.constant(graph, "from_x", matrix, 1),) for matrix in np.split(found.value.matrix, kv_heads, axis=1)
    ]
    if found.value.bias is not None:
        biases = [found.value.constant(graph, "from_x.bias", each, 2) for each in np.split(found.value.bias, kv_heads)]
        from_x = [(*own, bias) for own, bias in zip(from_x, biases, strict=True)]
    turned = _by_head(graph, query, _shared(to_x, heads), node.origins)
    shapes = _given_x(graph, node, found.width)
    mixed = _on_x(graph, node, turned, found.x)
    for old, new in zip(node.outputs[1:], mixed.outputs[1:], strict=True):
        shapes |= _returned_x(graph, old, new)
    replace(graph, node.output, _by_head(graph, mixed.output, _shared(from_x, heads), node.origins))
    return shapes


def _given_x(graph: Graph, node: Node, width: int) -> dict[str, list[str]]:
    """Let past inputs hold X."""
    shapes: dict[str, list[str]] = {}
    for past in (node.optional(index) for index in (3, 4)):
        if past is not None:
            shapes[past.name] = [str(dim) for dim in past.shape]
            past.type = TensorType(past.type.dtype, (past.shape[0], 1, past.shape[2], width))
            graph.signature[past.name] = past.type
    return shapes


def _returned_x(graph: Graph, old: Value, new: Value) -> dict[str, list[str]]:
    """Let the outputs that are `old` be `new`."""
    names = [name for name, value in graph.outputs.items() if value is old]
    for name in names:
        graph.outputs[name] = new
        graph.signature[name] = TensorType(graph.signature[name].dtype, new.shape)
    return {name: [str(dim) for dim in old.shape] for name in names}


def _shared(maps: Sequence[_Map], heads: int) -> list[_Map]:
    """The map of each query head, for maps of key heads."""
    return [each for each in maps for _ in range(heads // len(maps))]


def _by_head(graph: Graph, tokens: Value, maps: Sequence[_Map], origins: tuple[str, ...]) -> Value:
    """Tokens [B, S, H*I] through the linear map of each head: [B, S, H*O]."""
    batch, length, width = tokens.shape
    inner, outer = int(str(width)) // len(maps), int(str(maps[0][0].shape[1]))
    kinds = [TensorType(tokens.type.dtype, (batch, length, size)) for size in (inner, outer, outer * len(maps))]
    attributes = {"axis": 2, "sizes": (inner,) * len(maps)}
    heads = graph.add_node("split", [tokens], [kinds[0]] * len(maps), attributes, origins=origins).outputs
    results = [add(graph, "linear", [head, *own], kinds[1], origins) for head, own in zip(heads, maps, strict=True)]
    return add(graph, "concat", results, kinds[2], origins, {"axis": 2})


def _on_x(graph: Graph, node: Node, query: Value, x: Value) -> Node:
    """The attention of `query` [B, S, H*d] on X as keys and values of one head: [B, S, H*d]."""
    kept = [TensorType(x.type.dtype, (result.shape[0], 1, result.shape[2], x.shape[2])) for result in node.outputs[1:]]
    operands = [query, x, x, *(node.optional(index) for index in range(3, 7))]
    attributes = {**node.attributes, "kv_heads": 1}
    return graph.add_node("attention", operands, [query.type, *kept], attributes, origins=node.origins)
