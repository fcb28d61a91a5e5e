"""Replacement of spelled-out attention by one node."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from passes.explain import record
from passes.ir import Graph, Node, TensorType, Value
from passes.layout import head_major, token_major
from passes.recognition.attention_bias import bias_of, key_mask_of
from passes.recognition.attention_masks import Masking, resolve
from passes.recognition.attention_match import AttentionMatch, match_attention
from passes.recognition.attention_operands import Operand, stripped
from passes.recognition.attention_scores import scaling
from passes.recognition.matching import Refusal
from passes.rewriting import origins_of, replace, reshape

Known = dict[tuple[object, ...], Masking]
"""Masks that were classified already, so that blocks that share one classify it once."""


@dataclass(frozen=True)
class FuseAttention:
    """Replace softmax(query key^T * scale + mask) value by `attention` on token-major values.

    Precondition: canonical form, common subexpressions merged (a mask that several blocks share is one value).
    Effect: masks become predicates (`passes.recognition.masks`) as far as they are some, key masks operands; what is
    left of the masks, and what else is added to the scores, becomes the bias. Repetition of key heads, the soft cap,
    the guard against NaN and the concat with the past go into the node; present keys and values are its results.
    Queries that no key serves get zeros.
    Postcondition: no softmax over scores is left, but for those listed in the facts. The mask arithmetic is dead, but
    for what key masks and biases need.
    """

    name: ClassVar[str] = "fuse_attention"
    optional: ClassVar[bool] = False
    reassociates: ClassVar[bool] = True

    def run(self, graph: Graph) -> bool:
        """Fuse every attention; returns whether there was one."""
        known: Known = {}
        masks: Counter[str] = Counter()
        biases: Counter[str] = Counter()
        unfused: list[tuple[str, str]] = []
        presents = _returned_heads(graph)
        for node in graph.nodes:
            if node.op != "softmax":
                continue
            try:
                match = match_attention(node)
                masking = _classified(match, known)
            except Refusal as refusal:
                unfused.append((node.name, str(refusal)))
                continue
            _rewrite(graph, match, masking, presents)
            masks[str(masking)] += 1
            biases.update([f"bias because {masking.reason}"] if masking.reason else [])
        record(graph, self.name, {"attention": masks.total()}, unfused)
        graph.facts[self.name] |= {"masks": dict(masks), "biases": dict(biases)}
        return bool(masks)


def _classified(match: AttentionMatch, known: Known) -> Masking:
    """Classify the masks of one attention, equal ones once."""
    batch, _, queries, keys = match.scores
    key = (queries, keys, match.shares_positions, match.terms)
    if key not in known:
        known[key] = resolve(match.terms, queries, keys, match.shares_positions)
    found = known[key]
    for mask in found.key_masks:
        if mask.shape[0] not in (1, batch):
            raise Refusal(f"'{mask.name}' does not have one row for each sequence")
    return found


_Elements = tuple[Value, tuple[int, ...]]
"""A value and the order in which its axes are read."""


def _elements(operand: Operand) -> _Elements:
    """What an operand reads as [B, G, T, D], the same for different transpositions of one value."""
    value, node = operand.value, operand.value.producer
    order = tuple(range(value.type.rank))
    if node is not None and node.op == "transpose":
        value, order = node.operand(0), tuple(node.attributes["perm"])
    return value, (*order[:-2], order[-1], order[-2]) if operand.swapped else order


def _returned_heads(graph: Graph) -> dict[_Elements, list[str]]:
    """Names of the model's outputs of four axes, by what they are a view of."""
    found: dict[_Elements, list[str]] = {}
    for name, value in graph.outputs.items():
        if value.type.rank == 4 and value.producer is not None:
            batch, heads, length, width = value.shape
            plain = stripped(Operand(value, (batch, heads, length, width)), False)
            found.setdefault(_elements(plain), []).append(name)
    return found


def _rewrite(graph: Graph, match: AttentionMatch, masking: Masking, presents: dict[_Elements, list[str]]) -> None:
    origins = origins_of(match.nodes)
    returned = [presents.get(_elements(joined), []) for joined in (match.joined_key, match.joined_value)]
    query, scale = _query(graph, match, origins)
    key, value = (_tokens(graph, operand, origins) for operand in (match.key, match.value))
    mask = key_mask_of(graph, masking.key_masks, match.scores[3])
    bias = bias_of(graph, masking.bias, match.scores, match.query.value.type.dtype, origins)
    attributes = {
        "heads": match.query.shape[1],
        "kv_heads": match.joined_key.shape[1],
        "scale": scale,
        "causal": masking.causal,
        "window": masking.window,
        "softcap": match.softcap,
    }
    operands = [query, key, value, match.past_key, match.past_value, mask, bias]
    node = graph.add_node("attention", operands, _result_types(match), attributes, origins=origins)
    batch, heads, queries, _ = match.query.shape
    apart = head_major(graph, node.output, (batch, heads, queries, match.joined_value.shape[3]), origins)
    replace(graph, match.result, reshape(graph, apart, match.result.shape, origins))
    _return_present(graph, match, node, returned)


def _result_types(match: AttentionMatch) -> list[TensorType]:
    batch, heads, queries, keys = match.scores
    _, kv_heads, _, head_dim = match.joined_key.shape
    value_dim = match.joined_value.shape[3]
    kept = [TensorType(match.joined_key.value.type.dtype, (batch, kv_heads, keys, head_dim))]
    kept.append(TensorType(match.joined_value.value.type.dtype, (batch, kv_heads, keys, value_dim)))
    return [TensorType(match.result.type.dtype, (batch, queries, heads * value_dim)), *kept]


def _tokens(graph: Graph, operand: Operand | None, origins: tuple[str, ...]) -> Value | None:
    return None if operand is None else token_major(graph, operand.heads(graph, origins), origins)


def _query(graph: Graph, match: AttentionMatch, origins: tuple[str, ...]) -> tuple[Value, float]:
    """The query's tokens and the factor on the scores; a factor on the tokens becomes one on the scores."""
    query, scale = token_major(graph, match.query.heads(graph, origins), origins), match.scale
    node = query.producer
    step = scaling(node) if node is not None and node.op in ("mul", "div") else None
    if step is None or step[1] <= 0:
        return query, scale
    return step[0], scale * step[1]


def _return_present(graph: Graph, match: AttentionMatch, node: Node, returned: list[list[str]]) -> None:
    """Let users and outputs of the joined keys and values, whose names are `returned`, take the attention's results."""
    both, pasts = (match.joined_key, match.joined_value), (match.past_key, match.past_value)
    for joined, past, names, result in zip(both, pasts, returned, node.outputs[1:], strict=True):
        source = joined.value.producer
        if past is not None and source is not None and source in graph:
            replace(graph, joined.value, result)
        elif past is None:
            for name in names:
                if graph.outputs[name].type == result.type:
                    graph.outputs[name] = result
