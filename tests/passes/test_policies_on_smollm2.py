"""Policies on keys and values of the first four layers of SmolLM2, against the independent references."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tests_policy_references as reference
from numpy.typing import NDArray
from tests_policy_checks import assert_close, attend, check_cascade, check_eviction, check_quantised

from passes import interpret
from pimc.compiler import fuse_model
from pimc.frontend import load_model
from pimc.text_model import load_text_model

pytestmark = [pytest.mark.smollm2, pytest.mark.slow, pytest.mark.soak]

Array = NDArray[Any]
TEXT = Path(__file__).parents[2] / "models" / "shakespeare-held-out.txt"
SCALE = 0.125
LENGTHS = (1, 2, 31, 33, 200, 512)


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Array, Array, Array]]:
    """Q, K and V of each layer over 512 tokens of text."""
    from smollm2 import write_model

    folder = write_model(tmp_path_factory.mktemp("smollm2-4-policies"), layers=4)
    model = load_model(folder / "model.onnx")
    properties = {entry.key: entry.value for entry in model.proto.metadata_props}
    text = load_text_model(str(folder / "model.onnx"), properties)
    tokens = np.array(text.encode(TEXT.read_text(encoding="utf-8")[:4000], False)[:512])[None]
    graph = fuse_model(model)
    nodes = [node for node in graph.nodes if node.op == "cached_attention"]
    wanted = [node.operand(index) for node in nodes for index in range(3)]
    positions = np.arange(512)[None]
    inputs = {"input_ids": tokens, "position_ids": positions, "attention_mask": np.ones_like(positions)}
    found = interpret(graph, inputs, wanted=wanted)
    flat = [found[value.name][0] for value in wanted]
    assert [node.attributes["scale"] for node in nodes] == pytest.approx([SCALE] * 4)
    return [tuple(x.reshape(512, -1, 64) for x in flat[first : first + 3]) for first in range(0, len(flat), 3)]


def prefixes(layers: list[tuple[Array, Array, Array]]) -> Iterator[tuple[Array, Array, Array]]:
    """Every layer over the whole text, and the first over its beginnings."""
    yield from layers
    yield from (tuple(x[:length] for x in layers[0]) for length in LENGTHS[:-1])


def test_window(layers: list[tuple[Array, Array, Array]]) -> None:
    for q, k, v in prefixes(layers):
        found, _ = attend("window:sink=4,budget=128", q, k, v, SCALE)
        assert_close(found, reference.window(q, k, v, SCALE, 4, 128))


@pytest.mark.parametrize("shared", [False, True])
def test_h2o(layers: list[tuple[Array, Array, Array]], shared: bool) -> None:
    kv = f"h2o:budget=128,interval=8,per={'layer' if shared else 'head'}"
    for q, k, v in prefixes(layers):
        check_eviction(kv, q, k, v, shared, SCALE, budget=128, interval=8, protected=64, queries=None, kernel=1)


def test_tova(layers: list[tuple[Array, Array, Array]]) -> None:
    rule = {"budget": 128, "interval": 1, "protected": 1, "queries": 1, "kernel": 1}
    for q, k, v in prefixes(layers):
        check_eviction("tova:budget=128", q, k, v, True, SCALE, **rule)


def test_snapkv(layers: list[tuple[Array, Array, Array]]) -> None:
    rule = {"budget": 128, "interval": 32, "protected": 32, "queries": 32, "kernel": 5}
    for q, k, v in prefixes(layers):
        check_eviction("snapkv:budget=128", q, k, v, False, SCALE, **rule)


@pytest.mark.parametrize("bits", [4, 2])
def test_kivi(layers: list[tuple[Array, Array, Array]], bits: int) -> None:
    for q, k, v in prefixes(layers):
        check_quantised(f"kivi:bits={bits}", q, k, v, bits, "channel", 32, 32, 128, SCALE)


@pytest.mark.parametrize("axis", ["token", "channel"])
def test_int(layers: list[tuple[Array, Array, Array]], axis: str) -> None:
    for q, k, v in prefixes(layers):
        check_quantised(f"int:bits=8,axis={axis}", q, k, v, 8, axis, 16, 64, 0, SCALE)


@pytest.mark.parametrize(("bits", "taus", "most"), [((4, 4), (0.5, 0.05), 16), ((3, 2), (0.0, 0.0), 4)])
def test_cpq(
    layers: list[tuple[Array, Array, Array]], bits: tuple[int, int], taus: tuple[float, float], most: int
) -> None:
    kv = f"cpq:bits_k={bits[0]},bits_v={bits[1]},tau_k={taus[0]},tau_v={taus[1]},levels={most}"
    for q, k, v in prefixes(layers):
        check_cascade(kv, q, k, v, bits, taus, 32, most, SCALE)


def test_topk(layers: list[tuple[Array, Array, Array]]) -> None:
    for q, k, v in prefixes(layers):
        assert_close(attend("topk:k=32", q, k, v, SCALE)[0], reference.topk(q, k, v, SCALE, 32))


def test_quest(layers: list[tuple[Array, Array, Array]]) -> None:
    for q, k, v in prefixes(layers):
        assert_close(attend("quest:dense=0", q, k, v, SCALE)[0], reference.quest(q, k, v, SCALE, 16, 8))


def test_cam(layers: list[tuple[Array, Array, Array]]) -> None:
    for q, k, v in prefixes(layers):
        assert_close(attend("cam", q, k, v, SCALE)[0], reference.cam(q, k, v, SCALE, 32, 16, 2, 6))
