"""ONNX Runtime's fused operators, and whole models as its optimiser and quantiser rewrite them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_graphs import agree, node
from test_corpus_import import CORPUS, feeds

from isa import UnsupportedError
from passes import interpret, verify
from pimc.frontend import import_model

runtime = pytest.importorskip("onnxruntime")
DOMAIN = "com.microsoft"
Arrays = dict[str, np.ndarray]
RANDOM = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


def session(model: onnx.ModelProto | Path, level: object = None, saved: Path | None = None):
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if level is not None:
        options.graph_optimization_level = level
    if saved is not None:
        options.optimized_model_filepath = str(saved)
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def fused(nodes: Sequence[onnx.NodeProto], inputs: Arrays, weights: Arrays, *outputs: str) -> None:
    """Import a model of the nodes and compare all outputs with ONNX Runtime."""
    agree(nodes, inputs, weights, *outputs)


@pytest.mark.parametrize("operator", ["BiasGelu", "FastGelu"])
def test_gelu_with_bias(operator: str) -> None:
    fused([node(operator, ["x", "b"], ["y"], domain=DOMAIN)], {"x": floats(2, 3, 8)}, {"b": floats(8)}, "y")


@pytest.mark.parametrize("operator", ["Gelu", "FastGelu", "QuickGelu"])
def test_gelu_without_bias(operator: str) -> None:
    fused([node(operator, ["x"], ["y"], domain=DOMAIN)], {"x": floats(2, 3, 8)}, {}, "y")


@pytest.mark.parametrize(("trans_a", "trans_b"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_fused_matmul(trans_a: int, trans_b: int) -> None:
    a, b = floats(2, *((5, 3) if trans_a else (3, 5))), floats(2, *((4, 5) if trans_b else (5, 4)))
    product = node("FusedMatMul", ["a", "b"], ["y"], domain=DOMAIN, transA=trans_a, transB=trans_b, alpha=0.3)
    fused([product], {"a": a, "b": b}, {}, "y")


def test_residual_norms() -> None:
    norm = node("SkipLayerNormalization", ["x", "s", "g", "b", "c"], ["y", "", "", "sum"], domain=DOMAIN, epsilon=1e-3)
    weights = {"g": floats(8), "b": floats(8), "c": floats(8)}
    fused([norm], {"x": floats(1, 3, 8), "s": floats(1, 3, 8)}, weights, "y", "sum")


def test_residual_rms_norms() -> None:
    norm = node("SkipSimplifiedLayerNormalization", ["x", "s", "g"], ["y", "", "", "sum"], domain=DOMAIN, epsilon=1e-3)
    fused([norm], {"x": floats(1, 3, 8), "s": floats(1, 3, 8)}, {"g": floats(8)}, "y", "sum")


def test_simplified_layer_normalization() -> None:
    norm = node("SimplifiedLayerNormalization", ["x", "g"], ["y"], axis=-1, epsilon=1e-3)
    fused([norm], {"x": floats(1, 3, 8)}, {"g": floats(8)}, "y")


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("positions", [[2], [[0, 3, 7]]])
def test_rotary_embedding(interleaved: int, positions: list[int]) -> None:
    angles = np.outer(np.arange(9), [1.0, 0.1]).astype(np.float32)
    rotary = node("RotaryEmbedding", ["x", "p", "c", "s"], ["y"], domain=DOMAIN, interleaved=interleaved)
    fused([rotary], {"x": floats(1, 3, 8), "p": np.array(positions)}, {"c": np.cos(angles), "s": np.sin(angles)}, "y")


def test_embed_layer_normalization() -> None:
    names = ["i", "t", "word", "position", "segment", "g", "b"]
    embed = node("EmbedLayerNormalization", names, ["y", "mask"], domain=DOMAIN, epsilon=1e-3)
    ids = np.array([[3, 1, 4, 1]], np.int32)
    weights = {"word": floats(5, 8), "position": floats(6, 8), "segment": floats(2, 8), "g": floats(8), "b": floats(8)}
    fused([embed], {"i": ids, "t": np.array([[0, 0, 1, 1]], np.int32)}, weights, "y")


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zero_points", [False, True])
def test_matmul_with_packed_weights(bits: int, zero_points: bool) -> None:
    inputs, outputs, size = 40, 6, 16
    blocks = 3
    packed = RANDOM.integers(0, 256, (outputs, blocks, size * bits // 8), np.uint8)
    weights = {"w": packed, "s": np.abs(floats(outputs * blocks))}
    names = ["x", "w", "s"]
    if zero_points:
        weights["z"] = RANDOM.integers(0, 256, outputs * -(-blocks * bits // 8), np.uint8)
        names.append("z")
    attributes = {"K": inputs, "N": outputs, "bits": bits, "block_size": size, "accuracy_level": 1}
    product = node("MatMulNBits", names, ["y"], domain=DOMAIN, **attributes)
    fused([product], {"x": floats(2, 3, inputs)}, weights, "y")


def test_what_fused_operators_cannot_do_is_said() -> None:
    product = node("FusedMatMul", ["a", "a"], ["y"], "/f", domain=DOMAIN, transBatchA=1)
    with pytest.raises(UnsupportedError, match="FusedMatMul with transposed batch axes is not supported"):
        fused([product], {"a": floats(2, 2, 2)}, {}, "y")


def worst_difference(path: Path, past: int, seq: int, padding: int) -> float:
    graph = import_model(path)
    verify(graph, "imported")
    inputs = feeds(graph, past, seq, padding)
    results = interpret(graph, inputs)
    running = session(path)
    pairs = zip(running.get_outputs(), running.run(None, inputs), strict=True)
    return max(float(np.abs(results[info.name] - wanted).max() / np.abs(wanted).max()) for info, wanted in pairs)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
@pytest.mark.parametrize("level", ["ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED"])
def test_optimised_models(path: Path, level: str, tmp_path: Path) -> None:
    saved = tmp_path / "optimised.onnx"
    session(path, getattr(runtime.GraphOptimizationLevel, level), saved)
    domains = {node.domain for node in onnx.load(saved).graph.node}
    assert (DOMAIN in domains) == (level == "ORT_ENABLE_EXTENDED")
    past = 4 if "bert" not in path.stem else 0
    assert worst_difference(saved, past, 3, 0) < 1e-5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_dynamically_quantised_models(family: str, tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = next(path for path in CORPUS if path.stem == f"{family}-torchscript")
    saved = tmp_path / "int8.onnx"
    quantize_dynamic(path, saved, weight_type=QuantType.QInt8)
    operators = {node.op_type for node in onnx.load(saved).graph.node}
    assert {"MatMulInteger", "DynamicQuantizeLinear"} <= operators
    assert worst_difference(saved, 0 if family == "bert" else 4, 3, 0) < 1e-5
