"""Stores the matrices of a graph as int8 with a scale a column, converted back by Cast and Mul."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


def store_weights_as_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replaces each float matrix that a MatMul multiplies by; the graph computes with the rounded numbers."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    wanted = {node.input[1] for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights}
    converters: list[onnx.NodeProto] = []
    for name in sorted(wanted):
        matrix = numpy_helper.to_array(weights[name])
        if matrix.ndim != 2 or matrix.dtype != np.float32:
            continue
        scale = np.abs(matrix).max(axis=0) / 127
        scale[scale == 0] = 1
        graph.initializer.remove(weights[name])
        graph.initializer.append(numpy_helper.from_array(np.round(matrix / scale).astype(np.int8), f"{name}.int8"))
        graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"))
        cast = helper.make_node("Cast", [f"{name}.int8"], [f"{name}.cast"], f"{name}.Cast", to=onnx.TensorProto.FLOAT)
        converters += [cast, helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [name], f"{name}.Mul")]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*converters, *rest])
    return model
