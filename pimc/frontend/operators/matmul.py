"""Importers of matrix products."""

from __future__ import annotations

from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results


def _matmul(node: OnnxNode) -> Results:
    return node.builder.emit("matmul", [node.operand(0), node.operand(1)])


def _gemm(node: OnnxNode) -> Results:
    """alpha * A' * B' + beta * C, where A' and B' may be transposed."""
    build = node.builder
    a = transposed(build, node.operand(0)) if node.integer("transA", 0) else node.operand(0)
    b = transposed(build, node.operand(1)) if node.integer("transB", 0) else node.operand(1)
    result = scaled(build, build.emit("matmul", [a, b]), node.number("alpha", 1.0))
    bias = node.optional(2)
    if bias is None:
        return result
    return build.emit("add", [result, scaled(build, bias, node.number("beta", 1.0))])


def transposed(build: Builder, x: Operand) -> Operand:
    """The operand with its last two axes exchanged."""
    axes = list(range(build.rank(x)))
    axes[-2:] = axes[:-3:-1]
    return build.emit("transpose", [x], {"perm": tuple(axes)})


def scaled(build: Builder, x: Operand, factor: float) -> Operand:
    """The operand times a number; nothing is emitted for 1."""
    return x if factor == 1 else build.emit("mul", [x, build.scalar(factor, x.type.dtype)])


MATMUL: dict[str, Importer] = {"MatMul": _matmul, "Gemm": _gemm}
