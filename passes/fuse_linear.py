"""Recognition of linear maps: products with a constant matrix, with their bias."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from passes.explain import record
from passes.ir import Graph, Node
from passes.ops import FLOAT_DTYPES
from passes.recognition.matching import only_user, operand_pairs
from passes.rewriting import add, origins_of, replace, reshape


@dataclass(frozen=True)
class FuseLinear:
    """Replace matmul(x, constant matrix) [+ constant vector] by `linear`.

    Precondition: constants are folded, so that transposed weights are constants. Products of integers stay.
    Effect: a reshape that keeps the last axis may stand between product and vector; it comes behind the linear map.
    Postcondition: no product with a constant matrix [K, N] on the right is a `matmul`.
    """

    name: ClassVar[str] = "fuse_linear"
    optional: ClassVar[bool] = False
    reassociates: ClassVar[bool] = True

    def run(self, graph: Graph) -> bool:
        """Fuse every product with a matrix and every bias; returns whether there was one."""
        products = [node for node in graph.nodes if _to_linear(graph, node)]
        biases = [node for node in graph.nodes if node.op == "linear" and _absorb_bias(graph, node)]
        unfused = [(node.name, _reason(node)) for node in graph.nodes if _is_left_over(node)]
        record(graph, self.name, {"linear": len(products), "bias": len(biases)}, unfused)
        return bool(products or biases)


def _is_product_with_matrix(node: Node) -> bool:
    """Whether the right operand of a floating-point matmul is a constant [K, N] but for leading axes of size 1."""
    if node.op != "matmul" or node.operand(0).type.rank < 2 or node.output.type.dtype not in FLOAT_DTYPES:
        return False
    matrix = node.operand(1)
    extra = matrix.type.rank - 2
    if not matrix.is_constant or extra < 0 or any(size != 1 for size in matrix.shape[:extra]):
        return False
    return node.operand(0).type.rank >= matrix.type.rank


def _is_left_over(node: Node) -> bool:
    if node.op != "matmul" or node.output.type.dtype not in FLOAT_DTYPES:
        return False
    return node.operand(0).is_constant or node.operand(1).is_constant


def _reason(node: Node) -> str:
    """Why a product with a constant is no linear map."""
    if not node.operand(1).is_constant:
        return "the constant is the left factor, and linear maps multiply by a constant on the right"
    matrices = prod(size for size in node.operand(1).shape[:-2] if isinstance(size, int))
    if matrices > 1:
        return f"it multiplies by {matrices} constant matrices, as one for each head, and a linear map has one"
    return "it multiplies a vector or a constant vector, and linear maps multiply rows by a matrix"


def _to_linear(graph: Graph, node: Node) -> bool:
    if not _is_product_with_matrix(node):
        return False
    x, matrix = node.operand(0), node.operand(1)
    weight = reshape(graph, matrix, matrix.shape[-2:], node.origins)
    replace(graph, node.output, add(graph, "linear", [x, weight], node.output.type, node.origins))
    return True


def _absorb_bias(graph: Graph, node: Node) -> bool:
    """linear(x) + constant [N] -> linear with bias, also with a reshape that keeps the last axis in between."""
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        return False
    between = only_user(node.output)
    result = node.output
    if between is not None and between.op == "reshape" and between.output.shape[-1] == node.output.shape[-1]:
        result = between.output
    plus = only_user(result)
    if plus is None or plus.op != "add":
        return False
    width = node.output.shape[-1]
    for value, bias in operand_pairs(plus):
        is_vector = bias.is_constant and bias.shape[-1:] == (width,) and all(size == 1 for size in bias.shape[:-1])
        if value is not result or not is_vector or plus.output.shape != result.shape:
            continue
        vector = reshape(graph, bias, (width,), plus.origins)
        origins = origins_of([node, plus])
        new = add(graph, "linear", [node.operand(0), node.operand(1), vector], node.output.type, origins)
        replace(graph, plus.output, reshape(graph, new, plus.output.shape, origins))
        return True
    return False
