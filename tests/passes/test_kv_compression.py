"""The pass that lets policies choose: which caches it asks about, what it refuses, what it reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests_attention_graphs import HEAD_DIM, UNCACHED, WIDTH, attention_block, causal
from tests_graphs import run_passes

from isa import GraphError, InputError, UnsupportedError
from passes import (
    Caches,
    Compression,
    Graph,
    PassManager,
    compressible,
    compressing,
    explain,
    interpret,
    load_kv,
    parse_kv,
    parse_pipeline,
    pipeline,
    verify,
)
from passes.interpreter.compression import CompressedCache
from passes.kv_compression import KVCompression
from passes.kv_policies import BestPages, Levelled, Quantized, Ring, Scored
from pimc.compiler import fuse_folder, fuse_model
from pimc.frontend import load_model
from pimc.model_folder import load_folder

CORPUS = Path(__file__).parents[2] / "models" / "corpus"


def compressed(kv: str, layers: int = 2) -> Graph:
    graph = attention_block(kv_heads=2, layers=layers, mask=causal)
    PassManager(compressing(pipeline("default"), parse_kv(kv)), check_claims=True).run(graph)
    return graph


def test_caches_get_the_compression_of_their_layer() -> None:
    graph = compressed("window:sink=1,budget=8 @ 1")
    assert [cache.compression for cache in graph.caches.values()] == [None, Compression(Ring(8, 1))]


def test_the_pass_says_which_layer_has_which_policy() -> None:
    graph = compressed("h2o ; pyramidkv:budget=200 @ 1-2", 4)
    found = [each for each in explain(graph) if each.pass_name == "kv_compression"]
    assert [(each.pattern, each.fused) for each in found] == [
        ("h2o in layers 0, 3", 2),
        ("pyramidkv:budget=200 in layer 1", 1),
        ("pyramidkv:budget=200 in layer 2", 1),
    ]


def test_compression_comes_behind_the_caches_or_where_the_pipeline_says() -> None:
    names = [step.name for step in compressing(pipeline("default"), "kivi")]
    assert names.index("kv_compression") == names.index("kv_cache") + 1
    assert names.count("kv_compression") == 1
    given = compressing(parse_pipeline("kv_cache,dead_code,kv_compression"), "kivi")
    assert [step.name for step in given] == ["kv_cache", "dead_code", "kv_compression"]
    assert given[2] == KVCompression("kivi")
    with pytest.raises(InputError) as refused:
        compressing(parse_pipeline("dead_code"), "kivi")
    assert str(refused.value) == (
        "error: this pipeline keeps no KV cache that policies could compress\nhelp: add the pass kv_cache to --pipeline"
    )


def test_a_pipeline_may_name_policies_itself() -> None:
    assert parse_pipeline("kv_compression{policies=window:budget=9}") == [KVCompression("window:budget=9")]


def test_a_model_without_cache_is_refused() -> None:
    with pytest.raises(UnsupportedError) as refused:
        fuse_model(load_model(CORPUS / "bert-dynamo.onnx"), kv=parse_kv("kivi"))
    assert str(refused.value).startswith("error: the model has no KV cache that a policy could compress\n")
    assert refused.value.help == "export the model with its past keys and values as inputs and outputs (use_cache=True)"


def test_keys_of_one_run_are_no_cache() -> None:
    graph = run_passes(attention_block(mask=causal, lengths=UNCACHED), *pipeline("default"))
    assert compressible(graph) == []


def test_attention_with_a_window_of_its_own_stays_exact() -> None:
    graph = run_passes(attention_block(kv_heads=2, layers=2, mask=causal), *pipeline("default"))
    node = compressible(graph)[0]
    node.attributes["window"] = 4
    assert KVCompression("int:bits=4").run(graph)
    assert [cache.compression is None for cache in graph.caches.values()] == [True, False]
    assert graph.facts["kv_compression"]["layers"] == {"kv0": "none (a window of its own)", "kv1": "int:bits=4"}


@pytest.mark.parametrize("folder", ["t5-dynamo", "bart-torchscript", "whisper-dynamo"])
def test_decoders_of_folders_are_compressed_and_what_an_encoder_left_is_not(folder: str) -> None:
    loaded = load_folder(str(CORPUS / "encoder-decoders" / folder))
    fused = fuse_folder(loaded, kv=load_kv("window:budget=16"))
    graphs = {file.entry: graph for file, graph in zip(loaded.files, fused, strict=True)}
    assert all(cache.compression is None for cache in graphs["encode"].caches.values())
    kept = {entry: [bool(c.compression) for c in graphs[entry].caches.values()] for entry in ("prefill", "decode")}
    assert sum(kept["prefill"]) == sum(kept["decode"]) == len(kept["decode"]) // 2


def test_windows_alone_are_refused() -> None:
    with pytest.raises(UnsupportedError) as refused:
        fuse_model(load_model(CORPUS / "decoders" / "mistral-dynamo.onnx"), kv=parse_kv("int"))
    assert refused.value.message == "each of the 2 layers that the policies are for attends to a window of its own"


def test_attention_that_was_not_fused_is_named() -> None:
    with pytest.raises(UnsupportedError) as refused:
        fuse_model(load_model(CORPUS / "variants" / "llama-dynamo-qdq.onnx"), kv=parse_kv("kivi"))
    assert any("fuse_attention left" in note for note in refused.value.notes)


@pytest.mark.parametrize(
    "name", ["bloom-dynamo", "gemma2-torchscript", "gpt2-dynamo-op23", "mixtral-dynamo", "phi3-dynamo"]
)
def test_decoders_of_many_kinds_are_compressed(name: str) -> None:
    path = CORPUS / "decoders" / f"{name}.onnx"
    graph = fuse_model(load_model(path), {"batch": 1}, kv=parse_kv("window:budget=16"))
    assert any(cache.compression for cache in graph.caches.values())


def run(graph: Graph, x: np.ndarray, pieces: int, caches: Caches | None = None) -> np.ndarray:
    state: Caches = {} if caches is None else caches
    parts = np.array_split(x, pieces, axis=1)
    return np.concatenate([interpret(graph, {"x": part}, caches=state)["y"] for part in parts], axis=1)


@pytest.mark.parametrize(
    "kv",
    ["window:sink=1,budget=6", "h2o:budget=8", "int:bits=4", "cpq:warmup=5", "topk:k=4", "quest:dense=0", "cam"],
)
def test_a_sequence_in_pieces_gives_the_same(kv: str) -> None:
    x = np.random.default_rng(0).standard_normal((1, 40, WIDTH)).astype(np.float32)
    whole = run(compressed(kv), x, 1)
    np.testing.assert_allclose(run(compressed(kv), x, 9), whole, rtol=1e-4, atol=1e-5)


def test_short_sequences_are_those_of_the_exact_cache() -> None:
    x = np.random.default_rng(0).standard_normal((1, 12, WIDTH)).astype(np.float32)
    exact = run(compressed("none"), x, 1)
    for kv in ("window:budget=12", "h2o:budget=12", "int", "cpq:warmup=12", "topk:k=12", "quest:dense=0"):
        np.testing.assert_allclose(run(compressed(kv), x, 3), exact, rtol=1e-4, atol=1e-5)


def test_what_is_stored_is_rounded_first() -> None:
    graph = compressed("window:budget=64", layers=1)
    x = np.random.default_rng(0).standard_normal((1, 5, WIDTH)).astype(np.float32)
    caches: Caches = {}
    interpret(graph, {"x": x}, caches=caches, stored=np.rint)
    held = caches["kv0"]
    assert isinstance(held, CompressedCache)
    assert held.length == 5
    keys, values = held.present()
    assert keys.shape == (1, 2, 5, HEAD_DIM)
    np.testing.assert_array_equal(np.rint(keys), keys)
    np.testing.assert_array_equal(np.rint(values), values)


def test_a_past_with_tokens_is_refused() -> None:
    graph = compressed("window:budget=64", layers=1)
    cache = graph.caches["kv0"]
    past = {name: np.zeros((1, 2, 3, HEAD_DIM), np.float32) for name in (cache.past_key, cache.past_value) if name}
    with pytest.raises(InputError) as refused:
        interpret(graph, {"x": np.zeros((1, 1, WIDTH), np.float32), **past})
    assert refused.value.message == (
        f"'{cache.past_key}' brings 3 tokens, but a compressed cache takes them one by one"
    )


def test_padding_is_refused_where_a_compression_counts_on_all_tokens() -> None:
    model = load_model(CORPUS / "gpt2-dynamo.onnx")
    inputs: dict[str, Any] = {"input_ids": np.arange(6)[None], "attention_mask": np.array([[0, 0, 1, 1, 1, 1]])}
    cases = {"window:sink=1,budget=4": False, "topk:k=2": False, "h2o:budget=4": True, "int": True}
    for kv, is_refused in cases.items():
        graph = fuse_model(model, {"batch": 1}, kv=parse_kv(kv))
        given = {value.name: inputs.get(value.name, np.arange(6)[None]) for value in graph.inputs}
        if is_refused:
            with pytest.raises(GraphError, match="positions are masked out"):
                interpret(graph, given)
        else:
            assert np.isfinite(interpret(graph, given)[next(iter(graph.outputs))]).all()


@pytest.mark.parametrize(
    ("compression", "message"),
    [
        (Compression(Ring(4, 4)), "has a budget of 4 tokens with 4 sinks"),
        (Compression(Scored(4, 0, 2, 0, 1, True)), "evicts 0 tokens, not the latest 2, beyond a budget of 4"),
        (Compression(Scored(4, 1, 2, 2, 1, True)), "scores by 2 queries and 1 neighbours, with 1 tokens between"),
        (Compression(encoding=Quantized(3, 4, "token", 16, 1, 0)), "has codes of 3 and 4 bits"),
        (Compression(encoding=Quantized(4, 4, "token", 8, 1, 0)), "has groups of 8 tokens, which is no multiple of 16"),
        (Compression(encoding=Quantized(4, 4, "token", 16, 1, 8)), "keeps 8 tokens exact, which is no multiple"),
        (Compression(encoding=Quantized(4, 4, "token", 16, 3, 0)), "elements, no multiples of 3"),
        (Compression(encoding=Levelled(4, 9, 0, 0, 4, 4, 1)), "has codes of 4 and 9 bits in 4 levels after 4 tokens"),
        (Compression(selection=BestPages(8, 4)), "has pages of 8 tokens, which is no multiple of 16"),
        (Compression(selection=BestPages(16, 0)), "selects 0 of the tokens"),
        (Compression(Ring(8, 0), selection=BestPages(16, 1)), "selection by pages and eviction contradict each other"),
    ],
)
def test_the_verifier_finds_impossible_compressions(compression: Compression, message: str) -> None:
    graph = compressed("none", layers=1)
    graph.caches["kv0"] = replace(graph.caches["kv0"], compression=compression)
    with pytest.raises(GraphError, match=message):
        verify(graph)


def test_the_verifier_asks_for_causal_attention_without_a_window() -> None:
    graph = compressed("window", layers=1)
    (node,) = compressible(graph)
    for name, value, message in (("causal", False, "that is not causal"), ("window", 4, "with a window of its own")):
        before = node.attributes[name]
        node.attributes[name] = value
        with pytest.raises(GraphError, match=f"the compressed cache 'kv0' belongs to attention {message}"):
            verify(graph)
        node.attributes[name] = before
    verify(graph)
