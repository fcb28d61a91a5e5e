"""The dataflow graph and everything that rewrites it."""

from passes.dims import Affine, Dim
from passes.ir import Cache, Graph, Node, TensorType, Value, constant_scalar
from passes.ops import OPS, OpSpec

__all__ = [
    "OPS",
    "Affine",
    "Cache",
    "Dim",
    "Graph",
    "Node",
    "OpSpec",
    "TensorType",
    "Value",
    "constant_scalar",
]
