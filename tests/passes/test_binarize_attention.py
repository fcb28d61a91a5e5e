"""The pass that makes attention a search by signs: what it sets, what it leaves, what it means."""

from __future__ import annotations

import pytest
from tests_attention_graphs import UNCACHED, attention_block, causal

from isa import InputError, UnsupportedError
from passes import (
    BinarizeAttention,
    BinaryKeys,
    Compression,
    PassManager,
    binarizing,
    compressing,
    explain,
    parse_kv,
    parse_pipeline,
    pipeline,
)


def test_every_cache_gets_the_selection() -> None:
    graph = attention_block(kv_heads=2, layers=2, mask=causal)
    PassManager(binarizing(pipeline("default"), BinarizeAttention(8, 16, 3, 5)), check_claims=True).run(graph)
    assert [cache.compression for cache in graph.caches.values()] == [
        Compression(selection=BinaryKeys(8, 16, 3, 5))
    ] * 2
    (found,) = [each for each in explain(graph) if each.pass_name == "binarize_attention"]
    assert (found.pattern, found.fused) == ("binarised", 2)


def test_it_means_what_the_policy_means() -> None:
    graphs = [attention_block(kv_heads=2, mask=causal) for _ in range(2)]
    PassManager(binarizing(pipeline("default"), BinarizeAttention(4, 4, 2, 6))).run(graphs[0])
    PassManager(compressing(pipeline("default"), parse_kv("cam:k=4,tile=4,tile_top=2,bits=6"))).run(graphs[1])
    assert graphs[0].caches == graphs[1].caches


def test_options_are_read_from_a_pipeline() -> None:
    (step,) = parse_pipeline("binarize_attention{k=8,tile=32,tile_top=4,bits=7}")
    assert step == BinarizeAttention(8, 32, 4, 7)
    passes = [step]
    assert binarizing(passes, BinarizeAttention()) == passes


def test_policies_that_are_there_stay() -> None:
    graph = attention_block(kv_heads=2, layers=2, mask=causal)
    steps = compressing(pipeline("default"), parse_kv("topk:k=3 @ 1"))
    position = [step.name for step in steps].index("kv_compression") + 1
    PassManager([*steps[:position], BinarizeAttention(), *steps[position:]]).run(graph)
    first, second = (cache.compression for cache in graph.caches.values())
    assert first == Compression(selection=BinaryKeys(32, 16, 2, 6))
    assert second is not None
    assert not isinstance(second.selection, BinaryKeys)
    (found,) = [each for each in explain(graph) if each.pass_name == "binarize_attention"]
    assert [reason for _, reason in found.unfused] == ["has a KV policy already"]


def test_attention_without_earlier_tokens_is_refused() -> None:
    graph = attention_block(lengths=UNCACHED)
    with pytest.raises(UnsupportedError, match="no attention whose keys an associative memory could hold") as caught:
        PassManager(binarizing(pipeline("default"), BinarizeAttention())).run(graph)
    assert "does not append to keys and values of earlier runs" in str(caught.value)


def test_a_pipeline_without_caches_is_refused() -> None:
    with pytest.raises(InputError, match="no KV cache that an associative memory could hold"):
        binarizing(parse_pipeline("canonicalize"), BinarizeAttention())


def test_options_out_of_range_are_refused() -> None:
    graph = attention_block(kv_heads=2, mask=causal)
    with pytest.raises(InputError, match="a tile of 4 keys cannot pass on 5"):
        PassManager(binarizing(pipeline("default"), BinarizeAttention(tile=4, tile_top=5))).run(graph)
