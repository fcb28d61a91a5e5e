"""Codes of keys and values of SmolLM2's first four layers, in the banks and in numpy, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attention_only import Attention, AttentionUnderTest
from numpy.typing import NDArray
from stored_codes import assert_codes

from passes import interpret, parse_kv
from passes.kv_policies import Layer, resolve
from pimc.compiler import fuse_model
from pimc.frontend import load_model
from pimc.text_model import load_text_model

pytestmark = [pytest.mark.smollm2, pytest.mark.slow, pytest.mark.soak]

Tensors = dict[str, NDArray[Any]]
TEXT = Path(__file__).parents[4] / "models" / "shakespeare-held-out.txt"
LENGTHS = (1, 2, 31, 33, 159, 161, 200, 333, 511, 512)


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> list[Tensors]:
    """Query, key and value [1, 512, channels] of each layer over a text."""
    from smollm2 import write_model

    path = write_model(tmp_path_factory.mktemp("smollm2-4-codes"), layers=4) / "model.onnx"
    model = load_model(path)
    text = load_text_model(str(path), {entry.key: entry.value for entry in model.proto.metadata_props})
    tokens = np.array(text.encode(TEXT.read_text(encoding="utf-8")[:4000], False)[:512])[None]
    graph = fuse_model(model)
    nodes = [node for node in graph.nodes if node.op == "cached_attention"]
    wanted = [node.operand(index) for node in nodes for index in range(3)]
    positions = np.arange(512)[None]
    inputs = {"input_ids": tokens, "position_ids": positions, "attention_mask": np.ones_like(positions)}
    found = interpret(graph, inputs, wanted=wanted)
    flat = [found[value.name].reshape(1, 512, -1) for value in wanted]
    return [
        dict(zip(("query", "key", "value"), flat[first : first + 3], strict=True)) for first in range(0, len(flat), 3)
    ]


@pytest.mark.parametrize(
    ("policies", "numerics", "number"),
    [
        ("kivi:bits=4", "machine", 0),
        ("kivi:bits=4", "fp32", 3),
        ("kivi:bits=2,residual=32", "machine", 1),
        ("int:bits=8", "machine", 2),
        ("int:bits=4,width=16,group=32", "fp32", 0),
        ("int:bits=2,axis=channel", "machine", 3),
    ],
)
def test_codes_are_those_of_numpy(layers: list[Tensors], policies: str, numerics: str, number: int) -> None:
    (compression,) = resolve(parse_kv(policies), [Layer(0, 1, 64, 64)])
    shape = Attention(compression, heads=9, kv_heads=3, head_dim=64, context=512, numerics=numerics)
    test, start = AttentionUnderTest(shape, chunk=256), 0
    for length in LENGTHS:
        test.step({name: array[:, start:length] for name, array in layers[number].items()})
        start = length
        if length in (33, 161, 200):
            assert_codes(test)
    encoding = compression and compression.encoding
    assert assert_codes(test) == (512 - encoding.residual) // encoding.group  # type: ignore[union-attr]
