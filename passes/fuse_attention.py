"""Replacement of spelled-out attention by one node."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from passes.attention_match import AttentionMatch, Operand, match_attention
from passes.dims import Dim
from passes.explain import record
from passes.ir import Graph, Node, TensorType, Value
from passes.layout import head_major, token_major
from passes.masks import Predicate, classify
from passes.matching import Refusal
from passes.rewriting import cast, origins_of, replace, reshape, transpose


@dataclass(frozen=True)
class FuseAttention:
    """Replace softmax(query key^T * scale + mask) value by `attention` on token-major values.

    Precondition: canonical form, common subexpressions merged (a mask that several blocks share is one value).
    Effect: masks become predicates (`passes.masks`); a key mask is the graph input as bool. Repetition of key heads,
    the guard against NaN and the concat with the past go into the node; present keys and values are its results.
    Queries that no key serves get zeros.
    Postcondition: no softmax over scores is left, but for those listed in the facts. The mask arithmetic is dead.
    """

    name: ClassVar[str] = "fuse_attention"
    optional: ClassVar[bool] = False
    reassociates: ClassVar[bool] = True

    def run(self, graph: Graph) -> bool:
        """Fuse every attention; returns whether there was one."""
        known: dict[tuple[object, ...], Predicate | str] = {}
        masks: Counter[str] = Counter()
        unfused: list[tuple[str, str]] = []
        for node in graph.nodes:
            if node.op != "softmax":
                continue
            try:
                match = match_attention(node)
                predicate = _classified(graph, match, known)
            except Refusal as refusal:
                unfused.append((node.name, str(refusal)))
                continue
            _rewrite(graph, match, predicate)
            masks[str(predicate)] += 1
        record(graph, self.name, {"attention": masks.total()}, unfused)
        graph.facts[self.name]["masks"] = dict(masks)
        return bool(masks)


def _classified(graph: Graph, match: AttentionMatch, known: dict[tuple[object, ...], Predicate | str]) -> Predicate:
    """Classify a mask, each distinct one once; raises `Refusal`."""
    queries, keys = match.query.shape[2], match.keys_length
    key = (queries, keys, tuple((term.value, term.kind) for term in match.terms))
    if key not in known:
        try:
            known[key] = classify(graph, match.terms, queries, keys)
        except Refusal as refusal:
            known[key] = str(refusal)
    found = known[key]
    if isinstance(found, str):
        raise Refusal(found)
    if found.key_mask is not None and found.key_mask.shape[0] != match.query.shape[0]:
        raise Refusal(f"'{found.key_mask.name}' does not have one row for each sequence")
    return found


def _rewrite(graph: Graph, match: AttentionMatch, predicate: Predicate) -> None:
    origins = origins_of(match.nodes)
    heads, kv_heads = match.query.shape[1], match.key.shape[1]
    tokens = [_tokens(graph, operand, origins) for operand in (match.query, match.key, match.value)]
    masks = origins_of(term.value.producer for term in match.terms if term.value.producer is not None)
    mask = None if predicate.key_mask is None else cast(graph, predicate.key_mask, "bool", masks)
    node = graph.add_node(
        "attention",
        [*tokens, match.past_key, match.past_value, mask],
        _result_types(match),
        {
            "heads": heads,
            "kv_heads": kv_heads,
            "scale": match.scale,
            "causal": predicate.causal,
            "window": predicate.window,
            "softcap": 0.0,
        },
        origins=origins,
    )
    replace(graph, match.result, head_major(graph, node.output, match.result.shape, origins))
    _return_present(graph, match, node)


def _result_types(match: AttentionMatch) -> list[TensorType]:
    batch, heads, queries, _ = match.query.shape
    _, kv_heads, _, head_dim = match.key.shape
    value_dim: Dim = match.value.shape[3]
    kept = [TensorType(match.key.value.type.dtype, (batch, kv_heads, match.keys_length, head_dim))]
    kept.append(TensorType(match.value.value.type.dtype, (batch, kv_heads, match.keys_length, value_dim)))
    return [TensorType(match.result.type.dtype, (batch, queries, heads * value_dim)), *kept]


def _tokens(graph: Graph, operand: Operand, origins: tuple[str, ...]) -> Value:
    value = transpose(graph, operand.value, (0, 1, 3, 2), origins) if operand.swapped else operand.value
    return token_major(graph, reshape(graph, value, operand.shape, origins), origins)


def _return_present(graph: Graph, match: AttentionMatch, node: Node) -> None:
    """Let users and outputs of the joined keys and values take the results of the attention."""
    for joined, past, result in zip(
        (match.joined_key, match.joined_value), (match.past_key, match.past_value), node.outputs[1:], strict=True
    ):
        if past is not None and joined.producer is not None and joined.producer in graph:
            replace(graph, joined, result)
        elif past is None and joined.type == result.type:
            for name, value in graph.outputs.items():
                if value is joined:
                    graph.outputs[name] = result
