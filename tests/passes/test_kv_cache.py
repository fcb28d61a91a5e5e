import numpy as np
import pytest
from tests_attention_graphs import HEAD_DIM, HEADS, UNCACHED, WIDTH, attention_block, both, causal, key_mask
from tests_graphs import PAST, SEQ, TOTAL, Net, assert_same_meaning, operations, run_passes

from passes import Cache, Graph, interpret
from passes.kv_cache import KVCache
from passes.pipelines import pipeline

LATER = ("kv_cache", "expand_attention", "assign_storage")
BEFORE = tuple(step for step in pipeline("default") if step.name not in LATER)


def test_past_and_present_become_caches() -> None:
    after = assert_same_meaning(lambda: attention_block(kv_heads=2, layers=2), *pipeline("default"), tolerance=2e-5)
    assert [value.name for value in after.inputs] == ["x"]
    assert list(after.outputs) == ["y"]
    assert after.caches["kv1"] == Cache(
        "kv1", 2, HEAD_DIM, HEAD_DIM, "past.1.key", "past.1.value", "present.1.key", "present.1.value"
    )
    assert [node.attributes["cache"] for node in after.nodes if node.op == "cached_attention"] == ["kv0", "kv1"]
    assert set(after.signature) >= {"past.0.key", "present.1.value"}
    assert after.facts["kv_cache"]["fused"] == {"resident": 2, "transient": 0}


def test_the_cache_carries_state_from_run_to_run() -> None:
    graph = run_passes(attention_block(kv_heads=2), *pipeline("default"))
    x = np.random.default_rng(0).standard_normal((1, 5, WIDTH)).astype(np.float32)
    whole = interpret(graph, {"x": x})["y"]
    caches: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    steps = [interpret(graph, {"x": x[:, i : i + 1]}, caches=caches)["y"] for i in range(5)]
    np.testing.assert_allclose(np.concatenate(steps, axis=1), whole, rtol=1e-5, atol=1e-5)


def test_attention_without_past_gets_a_transient_cache() -> None:
    after = assert_same_meaning(
        lambda: attention_block(mask=both(causal, key_mask), lengths=UNCACHED), *pipeline("default"), tolerance=2e-5
    )
    assert after.caches["kv0"] == Cache("kv0", 4, HEAD_DIM, HEAD_DIM)
    assert after.facts["kv_cache"]["fused"] == {"resident": 0, "transient": 1}


def attention_on(past_from_exp: bool = False, present_used: bool = False, present_twice: bool = False) -> Graph:
    net = Net()
    x = net.input("x", 1, SEQ, WIDTH)
    past = [net.input(f"past.{name}", 1, 1, PAST, WIDTH) for name in "kv"]
    if past_from_exp:
        past[0] = net.op("exp", past[0])
    kept = type(x.type)("float32", (1, 1, TOTAL, WIDTH))
    attributes = {"heads": 1, "kv_heads": 1, "scale": 1.0, "causal": True, "window": 0, "softcap": 0.0}
    node = net.graph.add_node("attention", [x, x, x, *past, None], [x.type, kept, kept], attributes)
    net.output("y", node.output)
    net.output("present.k", node.outputs[1])
    if present_used:
        net.output("z", net.op("exp", node.outputs[1]))
    if present_twice:
        net.output("again", node.outputs[1])
    return net.graph


def test_what_cannot_be_resident_stays() -> None:
    cases = {
        "the past is computed in the model instead of being an input": attention_on(past_from_exp=True),
        "the keys or values of all positions are used elsewhere too": attention_on(present_used=True),
        "keys or values are returned as several outputs: present.k, again": attention_on(present_twice=True),
    }
    for reason, graph in cases.items():
        assert not KVCache().run(graph)
        assert [why for _, why in graph.facts["kv_cache"]["unfused"]] == [reason]
        assert operations(graph).count("attention") == 1


def test_a_past_for_two_attentions_stays_an_input() -> None:
    net = Net()
    x = net.input("x", 1, SEQ, WIDTH)
    past = [net.input(f"past.{name}", 1, 1, PAST, WIDTH) for name in "kv"]
    kept = type(x.type)("float32", (1, 1, TOTAL, WIDTH))
    attributes = {"heads": 1, "kv_heads": 1, "scale": 1.0, "causal": True, "window": 0, "softcap": 0.0}
    for name in "ab":
        node = net.graph.add_node("attention", [x, x, x, *past, None], [x.type, kept, kept], attributes)
        net.output(name, node.output)
    assert not KVCache().run(net.graph)
    assert [why for _, why in net.graph.facts["kv_cache"]["unfused"]] == ["the past 'past.k' is used elsewhere too"] * 2


def test_missing_present_outputs_are_no_obstacle() -> None:
    graph = run_passes(attention_on(), KVCache())
    assert graph.caches["kv0"] == Cache("kv0", 1, WIDTH, WIDTH, "past.k", "past.v", "present.k", None)


def test_nothing_is_left_to_convert() -> None:
    graph = run_passes(attention_block(), *BEFORE)
    assert KVCache().run(graph)
    assert not KVCache().run(graph)


def encoder_keys(net: Net, returned: bool) -> Graph:
    """Cross-attention whose keys and values are inputs alone."""
    query = net.input("x", 1, SEQ, WIDTH)
    given = [net.input(f"encoder.{name}", 1, HEADS, 7, HEAD_DIM) for name in "kv"]
    attributes = {"heads": HEADS, "kv_heads": HEADS, "scale": 1.0, "causal": False, "window": 0, "softcap": 0.0}
    kinds = [query.type, given[0].type, given[1].type]
    node = net.graph.add_node("attention", [query, None, None, *given], kinds, attributes)
    net.output("y", node.output)
    if returned:
        net.output("again.k", given[0])
        net.output("again.v", given[1])
    return net.graph


@pytest.mark.parametrize("returned", [False, True])
def test_keys_of_an_encoder_are_a_cache_that_does_not_grow(returned: bool) -> None:
    after = assert_same_meaning(lambda: encoder_keys(Net(), returned), KVCache(), tolerance=1e-6)
    names = ("again.k", "again.v") if returned else (None, None)
    assert after.caches["kv0"] == Cache("kv0", HEADS, HEAD_DIM, HEAD_DIM, "encoder.k", "encoder.v", *names)
    (node,) = after.nodes
    assert node.inputs == after.inputs


def test_conversions_of_past_and_present_fall_away() -> None:
    net = Net()
    x = net.input("x", 1, SEQ, WIDTH, dtype="float16")
    past = [net.op("cast", net.input(f"past.{name}", 1, 1, PAST, WIDTH), to="float16") for name in "kv"]
    kept = type(x.type)("float16", (1, 1, TOTAL, WIDTH))
    attributes = {"heads": 1, "kv_heads": 1, "scale": 1.0, "causal": True, "window": 0, "softcap": 0.0}
    node = net.graph.add_node("attention", [x, x, x, *past], [x.type, kept, kept], attributes)
    net.output("y", node.output)
    for name, value in zip("kv", node.outputs[1:], strict=True):
        net.output(f"present.{name}", net.op("cast", value, to="float32"))
    graph = run_passes(net.graph, KVCache())
    assert operations(graph) == ["cached_attention"]
    assert graph.caches["kv0"] == Cache("kv0", 1, WIDTH, WIDTH, "past.k", "past.v", "present.k", "present.v")
