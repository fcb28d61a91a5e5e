"""Key masks that the model computes are words by position: only caches that keep the order of positions take them."""

from __future__ import annotations

import pytest
from attention_only import MACHINE, Attention

from isa import UnsupportedError
from passes import (
    BestKeys,
    BestPages,
    BinaryKeys,
    Compression,
    Graph,
    Levelled,
    PlaceWeights,
    Quantized,
    Ring,
    Scored,
    TensorType,
    symbol,
)
from pimc.backend import ProgramOptions, build_program

OUT_OF_ORDER = {
    "ring": Compression(Ring(40, 4)),
    "scored": Compression(Scored(40, 4, 8, 0, 1, False)),
    "quantised": Compression(encoding=Quantized(8, 8, "token", 16, 16, 0)),
    "records": Compression(encoding=Levelled(4, 4, 0.5, 0.5, 8, 4, 0.5)),
    "pages": Compression(selection=BestPages(16, 2)),
    "best of a ring": Compression(Ring(40, 4), selection=BestKeys(8)),
}
IN_ORDER = {
    "exact": None,
    "best keys": Compression(selection=BestKeys(8)),
    "signs": Compression(selection=BinaryKeys(8, 16, 2, 6)),
}


def masked(compression: Compression | None) -> Graph:
    """An attention whose key mask is the opposite of an input."""
    graph = Attention(compression).graph()
    kind = TensorType("bool", (1, symbol("past") + symbol("seq")))
    graph.signature["mask"] = kind
    (node,) = graph.nodes
    excluded = graph.add_node("not", [graph.add_input("mask", kind)], [kind], {})
    attention = graph.add_node("cached_attention", [*node.inputs, excluded.output], [node.output.type], node.attributes)
    graph.outputs["result"] = attention.output
    graph.remove(node)
    PlaceWeights(MACHINE).run(graph)
    return graph


@pytest.mark.parametrize("name", OUT_OF_ORDER)
def test_refused_where_positions_lose_their_order(name: str) -> None:
    with pytest.raises(UnsupportedError) as refusal:
        build_program(masked(OUT_OF_ORDER[name]), MACHINE, ProgramOptions(200, 64, "fp32", {}))
    assert "the model computes its mask" in "\n".join(refusal.value.notes)


@pytest.mark.parametrize("name", IN_ORDER)
def test_taken_where_they_keep_it(name: str) -> None:
    assert build_program(masked(IN_ORDER[name]), MACHINE, ProgramOptions(200, 64, "fp32", {})).code
