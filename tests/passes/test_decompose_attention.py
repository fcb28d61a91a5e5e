"""Attention on X: the same results for biases, key heads, masks and spellings; refusals; the decision by cost."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from corpus_manifest import CorpusGraph
from tests_attention_graphs import (
    HEAD_DIM,
    HEADS,
    UNCACHED,
    WIDTH,
    attention_block,
    both,
    causal,
    key_mask,
    no_mask,
    window,
)
from tests_corpus import GRAPHS, case_of, difference, imported, lengths_of, taken
from tests_graphs import SEQ, Net, assert_same_meaning, operations, run_passes

from isa import InputError
from passes import Graph, PassManager, TensorType, Value, interpret, parse_pipeline
from passes.decompose_attention import DecomposeAttention
from passes.decomposition_costs import ArrayTimes, AttentionShape, written_keys, written_x
from passes.pipelines import DEFAULT

DECOMPOSED = DEFAULT.replace("select_columns,", "select_columns,decompose_attention{choose=all},")
ALL = DecomposeAttention("all")
Change = Callable[[Net, Value], Value]


def attend(net: Net, query: Value, key: Value, value: Value, **attributes: Any) -> None:
    kv_heads = key.shape[-1] // HEAD_DIM  # type: ignore[operator]
    plain = {"heads": HEADS, "kv_heads": kv_heads, "scale": 0.3, "causal": True, "window": 0, "softcap": 0.0}
    kept = TensorType("float32", (1, kv_heads, SEQ, HEAD_DIM))
    kinds = [query.type, kept, kept]
    node = net.graph.add_node("attention", [query, key, value], kinds, {**plain, **attributes}, origins=["onnx/a"])
    net.output("y", node.output)


def block(biases: str = "qkv", kv_heads: int = HEADS, joint: bool = False, **attributes: Any) -> Graph:
    net = Net()
    x, narrow = net.input("x", 1, SEQ, WIDTH), kv_heads * HEAD_DIM
    widths = {"q": WIDTH, "k": narrow, "v": narrow}
    if joint:
        whole = net.op("linear", x, net.weights(WIDTH, sum(widths.values())), net.weights(sum(widths.values())))
        attend(net, *net.split(whole, 2, *widths.values()), **attributes)
        return net.graph
    parts = [
        net.op("linear", x, net.weights(WIDTH, width), net.weights(width) if name in biases else None)
        for name, width in widths.items()
    ]
    attend(net, *parts, **attributes)
    return net.graph


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("kv_heads", [HEADS, 2, 1])
@pytest.mark.parametrize("biases", ["", "q", "k", "v", "qkv"])
def test_biases_and_shared_key_heads(biases: str, kv_heads: int, joint: bool) -> None:
    after = assert_same_meaning(lambda: block(biases, kv_heads, joint), ALL, tolerance=1e-5)
    attention = next(node for node in after.nodes if node.op == "attention")
    assert attention.operand(1) is attention.operand(2) is after.inputs[0]
    assert attention.attributes["kv_heads"] == 1
    assert operations(after).count("linear") == 1 + 2 * HEADS
    assert after.facts["decompose_attention"]["fused"] == {"attention on X": 1}


@pytest.mark.parametrize("mask", [no_mask, causal, window(2), both(causal, key_mask)])
def test_masks_go_on_working_through_the_pipeline(mask: Any) -> None:
    build = lambda: attention_block(mask=mask, lengths=UNCACHED, layers=2)  # noqa: E731
    after = assert_same_meaning(build, *parse_pipeline(DECOMPOSED), tolerance=1e-5)
    assert after.facts["decompose_attention"]["fused"] == {"attention on X": 2}
    assert {(cache.kv_heads, cache.head_dim) for cache in after.caches.values()} == {(1, WIDTH)}


def rotated(net: Net, value: Value) -> Value:
    tables = [net.input(name, 1, SEQ, HEAD_DIM // 2) for name in ("cos", "sin")]
    attributes = {"heads": HEADS, "interleaved": False}
    return net.graph.add_node("rotary", [value, *tables], [value.type], attributes).output


def normalised(net: Net, value: Value) -> Value:
    apart = net.op("reshape", value, shape=(1, SEQ, HEADS, HEAD_DIM))
    kind = apart.type
    normed = net.graph.add_node("rms_norm", [apart, net.weights(HEAD_DIM)], [kind], {"epsilon": 1e-5}).output
    return net.op("reshape", normed, shape=(1, SEQ, WIDTH))


def returned(net: Net, value: Value) -> Value:
    net.output("keys", value)
    return value


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (rotated, "a rotary embedding stands between the projection of the keys and the scores"),
        (normalised, "the keys are normalised behind their projection"),
        (lambda net, value: net.op("exp", value), "the keys come from exp, not straight from a linear map"),
        (lambda net, value: net.input("given", 1, SEQ, WIDTH), "the keys are given, not projected"),
        (
            lambda net, value: net.op("linear", net.input("z", 1, SEQ, WIDTH), net.weights(WIDTH, WIDTH)),
            "keys and values are projections of different values",
        ),
    ],
)
def test_refusals(change: Change, reason: str) -> None:
    net = Net()
    x = net.input("x", 1, SEQ, WIDTH)
    query, key, value = (net.op("linear", x, net.weights(WIDTH, WIDTH)) for _ in "qkv")
    attend(net, query, change(net, key), value)
    run_passes(net.graph, ALL)
    facts = net.graph.facts["decompose_attention"]
    assert facts["details"] == {f"attention (onnx/a): not legal: {reason}": 1}
    assert facts["fused"] == {"attention on X": 0}


def test_capped_scores_see_a_bias_of_the_keys() -> None:
    assert not ALL.run(block("k", softcap=2.0))
    assert_same_meaning(lambda: block("qv", softcap=2.0), ALL, tolerance=1e-5)


def test_keys_that_somebody_wants_are_kept() -> None:
    graph = block()
    attention = graph.nodes[-1]
    graph.outputs["present"] = attention.outputs[1]
    assert not ALL.run(graph)
    (line,) = graph.facts["decompose_attention"]["details"]
    assert line.endswith("not legal: the keys or values are asked for as such")


def test_a_past_of_keys_is_no_past_of_x() -> None:
    graph = run_passes(attention_block(), *parse_pipeline(DECOMPOSED))
    (line,) = graph.facts["decompose_attention"]["details"]
    assert line.endswith("are given, which do not tell X: --pipeline attention_on_x keeps X")


@pytest.mark.parametrize("kv_heads", [HEADS, 1])
def test_a_cache_of_x_goes_on_from_step_to_step(kv_heads: int) -> None:
    """Inputs and outputs of the cache keep their names and hold X, which takes the place of keys and values."""
    steps = "".join(DECOMPOSED.partition("kv_cache")[:1]).replace("choose=all", "choose=all,cache=x")
    plain, graph = attention_block(kv_heads=kv_heads, layers=2), attention_block(kv_heads=kv_heads, layers=2)
    run_passes(graph, *parse_pipeline(steps))
    names = [f"past.{layer}.{part}" for layer in range(2) for part in ("key", "value")]
    x = np.random.default_rng(0).standard_normal((1, 7, WIDTH)).astype(np.float32)
    empty = dict.fromkeys(names, np.zeros((1, kv_heads, 0, HEAD_DIM), np.float32))
    expected = interpret(plain, {"x": x, **empty})["y"]
    held = dict.fromkeys(names, np.zeros((1, 1, 0, WIDTH), np.float32))
    for start, stop in ((0, 4), (4, 5), (5, 7)):
        found = interpret(graph, {"x": x[:, start:stop], **held})
        np.testing.assert_allclose(found["y"], expected[:, start:stop], rtol=0, atol=1e-5)
        held = {name: found[name.replace("past", "present")] for name in names}
    np.testing.assert_array_equal(held["past.0.key"], x[:, np.newaxis])
    shapes = graph.facts["decompose_attention"]["x_cache"]
    assert shapes["past.1.value"] == ["1", str(kv_heads), "past", str(HEAD_DIM)]
    assert set(shapes) == {*names, *(name.replace("past", "present") for name in names)}


def test_keys_that_somebody_else_needs_stay_keys_even_where_the_cache_may_hold_x() -> None:
    used = attention_block()
    past = next(value for value in used.inputs if value.name == "past.0.key")
    used.outputs["also"] = used.add_node("abs", [past], [past.type], {}).output
    used.signature["also"] = past.type
    run_passes(used, *parse_pipeline(DECOMPOSED.replace("choose=all", "choose=all,cache=x")))
    (line,) = used.facts["decompose_attention"]["details"]
    assert line.endswith("keys and values of earlier tokens are computed, or used elsewhere too")


def test_a_cache_holds_keys_or_x() -> None:
    with pytest.raises(InputError, match="option 'cache' of pass 'decompose_attention' is 'y'"):
        run_passes(block(), DecomposeAttention("all", cache="y"))


SHAPE = AttentionShape(tokens=100, heads=8, kv_heads=8, width=512, key_dim=64, value_dim=64)


def test_costs_by_hand() -> None:
    """t_m 10 ns, t_w 7 ns. In a pipeline keys must be written before scores; X serves sixteen products a token."""
    stepwise, pipelined = (ArrayTimes(10_000, 7_000, 1, flag) for flag in (False, True))
    assert written_keys(SHAPE, stepwise).time_ps == 100 * (30_000 + 7_000)
    assert written_x(SHAPE, stepwise).time_ps == 100 * (20_000 + 17 * 10_000)
    assert written_keys(SHAPE, pipelined).time_ps == 100 * 10_000 + 7_000 + 101 * 10_000
    assert written_x(SHAPE, pipelined).time_ps == 100 * 7_000 + (1600 + 2) * 10_000
    assert written_keys(SHAPE, pipelined).writes == 100 * 1024
    assert written_x(SHAPE, pipelined).writes == 100 * 512
    assert written_keys(SHAPE, pipelined).products == 100 * 512 * 1536 + 100 * 100 * 8 * 128
    assert written_x(SHAPE, pipelined).products == 100 * 8 * 512 * 192 + 2 * 100 * 100 * 8 * 512


def test_hidden_writes_take_no_time() -> None:
    hidden = ArrayTimes(10_000, 7_000, 1, True, is_hidden=True)
    assert written_x(SHAPE, hidden).time_ps == 20_000 + (1600 + 2) * 10_000
    assert written_keys(SHAPE, hidden) == written_keys(SHAPE, ArrayTimes(10_000, 7_000, 1, True))


@pytest.mark.parametrize("copies", [8, 16])
def test_copies_of_x_serve_heads_at_once(copies: int) -> None:
    times = ArrayTimes(10_000, 7_000, copies, True)
    assert written_x(SHAPE, times).time_ps == 100 * 7_000 + (100 * 16 // copies + 2) * 10_000
    assert written_x(SHAPE, times).writes == copies * 100 * 512


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({}, False),
        ({"copies": 8}, True),
        ({"write_ps": 10_000_000}, False),
        ({"write_ps": 10_000_000, "hidden": True}, True),
        ({"write_ps": 10_000_000, "hidden": True, "choose": "none"}, False),
        ({"choose": "all"}, True),
    ],
)
def test_the_decision_follows_the_costs(options: dict[str, Any], chosen: bool) -> None:
    graph = block()
    assert DecomposeAttention(**{"vector_ps": 100_000, "write_ps": 7_200, **options}).run(graph) is chosen
    (line,) = graph.facts["decompose_attention"]["details"]
    assert f"legal, {'decomposed' if chosen else 'left as it is'}: " in line
    assert "at 128 tokens keys and values take" in line


@pytest.mark.parametrize("options", [{"choose": "best"}, {"copies": 0}, {"tokens": -1}, {"write_ps": -1}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"option '(choose|copies|tokens|write_ps)' of pass 'decompose_attention'"):
        DecomposeAttention(**options).run(block())


def test_without_times_of_crossbars_nothing_is_compared() -> None:
    graph = block()
    assert DecomposeAttention("all").run(graph)
    assert [line.partition(": ")[2] for line in graph.facts["decompose_attention"]["details"]] == [
        "legal, decomposed: as choose=all says"
    ]
    with pytest.raises(InputError, match="knows no times of crossbars"):
        DecomposeAttention(vector_ps=100).run(block())


CHOSEN = ("bert-dynamo", "gpt2-dynamo-plain", "opt-torchscript-plain", "vit-dynamo", "bloom-dynamo-plain")


@pytest.mark.parametrize("graph", [each for each in GRAPHS if each.name in CHOSEN], ids=lambda graph: graph.name)
def test_models_give_the_same_outputs(graph: CorpusGraph) -> None:
    plain, decomposed = (imported(graph) for _ in range(2))
    PassManager(parse_pipeline(DEFAULT)).run(plain)
    PassManager(parse_pipeline(DECOMPOSED), check_claims=True).run(decomposed)
    assert decomposed.facts["decompose_attention"]["fused"] == {"attention on X": graph.attention_blocks}
    for seq, past in lengths_of(graph):
        case = case_of(graph, seq, past)
        expected, found = (interpret(each, taken(each, case.inputs)) for each in (plain, decomposed))
        for name, array in expected.items():
            assert difference(case, name, array, found[name]) <= 1e-5, (name, seq)


def test_a_rotary_model_is_left_alone() -> None:
    graph = imported(next(each for each in GRAPHS if each.name == "llama-dynamo"))
    PassManager(parse_pipeline(DECOMPOSED)).run(graph)
    facts = graph.facts["decompose_attention"]
    assert facts["fused"] == {"attention on X": 0}
    assert all("a rotary embedding stands between" in line for line in facts["details"])


def test_matrices_of_query_heads_are_those_of_their_key_head() -> None:
    graph = block("", 2)
    key = np.asarray(graph.nodes[1].operand(1).constant)
    ALL.run(graph)
    maps = [node.operand(1) for node in graph.nodes if node.op == "linear"][1 : 1 + HEADS]
    assert [maps.index(each) for each in maps] == [0, 0, 2, 2]
    assert np.array_equal(np.asarray(maps[2].constant), key[:, HEAD_DIM:].T)
