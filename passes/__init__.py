"""The dataflow graph and everything that rewrites it."""

from passes.dims import Affine, Dim
from passes.interpreter import apply_operation, evaluate, interpret
from passes.interpreter_symbols import Caches, bind_symbols
from passes.ir import Cache, Graph, Node, TensorType, Value, constant_scalar
from passes.ops import OPS, OpSpec
from passes.text import large_constants, parse_graph, print_graph
from passes.verifier import LEVELS, verify

__all__ = [
    "LEVELS",
    "OPS",
    "Affine",
    "Cache",
    "Caches",
    "Dim",
    "Graph",
    "Node",
    "OpSpec",
    "TensorType",
    "Value",
    "apply_operation",
    "bind_symbols",
    "constant_scalar",
    "evaluate",
    "interpret",
    "large_constants",
    "parse_graph",
    "print_graph",
    "verify",
]
