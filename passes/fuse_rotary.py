"""Replacement of spelled-out rotary position embedding by one node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.dims import Dim
from passes.explain import record
from passes.ir import Graph, TensorType, Value
from passes.layout import head_major, token_major
from passes.recognition.matching import Refusal
from passes.recognition.rotary_match import Rotary, match_rotary, turned_of
from passes.recognition.rotary_tables import half_table
from passes.rewriting import add, cut, origins_of, replace, reshape, transpose


@dataclass(frozen=True)
class FuseRotary:
    """Replace x * cos + turned(x) * sin by `rotary` on token-major values.

    turned(x) is concat(-x_high, x_low), or (-x1, x0, -x3, x2, ...) when interleaved.

    Precondition: canonical form, common subexpressions merged.
    Effect: x may be [B, H, S, D] or [B, S, H, D], or the first part of the last axis of such a value whose rest is
    joined again behind. cos and sin are reduced to the half that repeats.
    Postcondition: no such sum is left, but for those listed in the facts.
    """

    name: ClassVar[str] = "fuse_rotary"
    optional: ClassVar[bool] = True
    reassociates: ClassVar[bool] = False

    def run(self, graph: Graph) -> bool:
        """Fuse every rotary embedding; returns whether there was one."""
        count = 0
        unfused: list[tuple[str, str]] = []
        for node in graph.nodes:
            turned = turned_of(node) if node in graph and node.op == "concat" else None
            if turned is None:
                continue
            try:
                _rewrite(graph, match_rotary(turned))
                count += 1
            except Refusal as refusal:
                unfused.append((node.name, str(refusal)))
        record(graph, self.name, {"rotary": count}, unfused)
        return count > 0


def _rewrite(graph: Graph, found: Rotary) -> None:
    origins = origins_of(found.nodes)
    x = cut(graph, found.x, 3, found.start, found.stop, origins)
    batch, heads, length, width = x.shape
    if found.tokens_first:
        heads, length = length, heads
        tokens = reshape(graph, x, (batch, length, heads * width), origins)
    else:
        tokens = token_major(graph, x, origins)
    halves = [half_table(graph, table, found.interleaved) for table in (found.cos, found.sin)]
    cos, sin = (_row_a_token(graph, half, length) for half in halves)
    kind = TensorType(tokens.type.dtype, tokens.shape)
    attributes = {"heads": heads, "interleaved": found.interleaved}
    turned = add(graph, "rotary", [tokens, cos, sin], kind, origins, attributes)
    apart = head_major(graph, turned, (batch, heads, length, width), origins)
    replace(graph, found.result, transpose(graph, apart, (0, 2, 1, 3), origins) if found.tokens_first else apart)


def _row_a_token(graph: Graph, table: Value, length: Dim) -> Value:
    """The half table [B|1, 1, S, R/2] or [B|1, S, 1, R/2] as [B|1, S, R/2]."""
    batch = table.shape[0] if table.type.rank == 4 else 1
    origins = table.producer.origins if table.producer is not None else ()
    return reshape(graph, table, (batch, length, table.shape[-1]), origins)
