"""The attention of a decoder layer for one new token, with keys and values of the earlier ones, as an ONNX model."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def decoder_attention(heads: int, head_dim: int) -> onnx.ModelProto:
    """Inputs `query`, `key`, `value`, `past.key`, `past.value`; outputs `result`, `present.key`, `present.value`.

    Operands are [1, 1, heads * head_dim], as projections leave them, keys and values [1, heads, tokens, head_dim].
    Scores are divided by the root of `head_dim`; there is no mask, as a single new token attends to all.
    """
    nodes = [node for name in ("query", "key", "value") for node in _heads_apart(name)]
    nodes += [
        helper.make_node("Concat", ["past.key", "key.heads"], ["present.key"], "append_key", axis=2),
        helper.make_node("Concat", ["past.value", "value.heads"], ["present.value"], "append_value", axis=2),
        helper.make_node("Transpose", ["present.key"], ["key.turned"], "turn_key", perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["query.heads", "key.turned"], ["products"], "score"),
        helper.make_node("Div", ["products", "root"], ["scores"], "scale"),
        helper.make_node("Softmax", ["scores"], ["weights"], "softmax", axis=-1),
        helper.make_node("MatMul", ["weights", "present.value"], ["mixed"], "mix"),
        helper.make_node("Transpose", ["mixed"], ["rows"], "turn_rows", perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["rows", "joined"], ["result"], "join"),
    ]
    constants = {
        "root": np.sqrt(np.float32(head_dim)),
        "apart": np.array([1, 1, heads, head_dim], np.int64),
        "joined": np.array([1, 1, heads * head_dim], np.int64),
    }
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    row, past, present = ([1, 1, heads * head_dim], *([1, heads, n, head_dim] for n in ("past", "past + 1")))
    inputs = {"query": row, "key": row, "value": row, "past.key": past, "past.value": past}
    outputs = {"result": row, "present.key": present, "present.value": present}
    graph = helper.make_graph(nodes, "attention", _values(inputs), _values(outputs), initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _heads_apart(name: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Reshape", [name, "apart"], [f"{name}.apart"], f"split_{name}"),
        helper.make_node("Transpose", [f"{name}.apart"], [f"{name}.heads"], f"turn_{name}s", perm=[0, 2, 1, 3]),
    ]


def _values(shapes: dict[str, list[int | str]]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
