"""Recognition of products with a matrix that is chosen while the model runs, as mixtures of experts have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from passes.explain import record
from passes.ir import Graph, Node, TensorType, Value
from passes.ops import FLOAT_DTYPES
from passes.recognition.matching import producer
from passes.rewriting import add, origins_of, replace, reshape


@dataclass(frozen=True)
class FuseExperts:
    """Replace matmul with a matrix gathered from a constant [E, ., .] by `expert_linear`.

    Precondition: constants are folded.
    Effect: the chosen matrices are not copied any more; products are taken with them where they are stored. The vector
    stands on either side of the matrix.
    Postcondition: no product of a vector with a gathered constant matrix is left.
    """

    name: ClassVar[str] = "fuse_experts"
    optional: ClassVar[bool] = True
    reassociates: ClassVar[bool] = True

    def run(self, graph: Graph) -> bool:
        """Fuse every product with a chosen matrix; returns whether there was one."""
        count = sum(_fuse(graph, node) for node in graph.nodes if node.op == "matmul")
        record(graph, self.name, {"expert_linear": count}, [])
        return bool(count)


def _fuse(graph: Graph, node: Node) -> bool:
    if node.output.type.dtype not in FLOAT_DTYPES:
        return False
    for place, is_left in ((0, True), (1, False)):
        gather = producer(node.operand(place), "gather")
        vector = node.operand(1 - place)
        if gather is not None and _is_choice(gather) and _is_vector(vector, gather, is_left):
            _rewrite(graph, node, gather, vector, is_left)
            return True
    return False


def _is_choice(gather: Node) -> bool:
    """Whether the node takes matrices of a constant [E, ., .] by number."""
    table = gather.operand(0)
    return table.is_constant and table.type.rank == 3 and gather.attributes["axis"] in (0, -3)


def _is_vector(value: Value, gather: Node, is_left: bool) -> bool:
    """Whether `value` is one column [I..., K, 1], or one row [I..., 1, K] when the matrix is on the right."""
    outer = gather.operand(1).shape
    if value.type.rank != len(outer) + 2 or value.shape[:-2] != outer:
        return False
    return value.shape[-1 if is_left else -2] == 1


def _rewrite(graph: Graph, node: Node, gather: Node, vector: Value, is_left: bool) -> None:
    table, index = gather.operand(0), gather.operand(1)
    array = np.asarray(table.constant)
    weights = array.swapaxes(1, 2) if is_left else array  # [E, K, N]
    matrices = graph.add_constant(weights, f"{table.name}.experts", table.type.dtype)
    origins = origins_of([gather, node])
    flat = reshape(graph, vector, (*index.shape, int(weights.shape[1])), origins)
    kind = TensorType(node.output.type.dtype, (*index.shape, int(weights.shape[2])))
    product = add(graph, "expert_linear", [flat, index, matrices], kind, origins)
    replace(graph, node.output, reshape(graph, product, node.output.shape, origins))
