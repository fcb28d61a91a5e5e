"""Nodes of operators without an importer whose operands are all known: the onnx package computes them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import onnx

from isa import InputError, ResourceLimitError, UnsupportedError
from pimc.frontend.builder import Array, Builder, Operand
from pimc.frontend.tensors import DTYPES

FOLDED = frozenset({
    "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr",
    "BitwiseXor", "BlackmanWindow", "Compress", "Cosh", "CumProd", "DFT", "Det", "HammingWindow", "HannWindow",
    "MelWeightMatrix", "NonZero", "Resize", "ReverseSequence", "Sinh", "Tan", "Unique",
})  # fmt: skip
"""Deterministic operators of the standard domain, computed when all of their operands are known."""

MOST_ELEMENTS = 1 << 24
"""Bound on the elements of an operand and of a result; a table of positions has less than a million."""


def fold(build: Builder, node: onnx.NodeProto, operands: Sequence[Operand | None], opset: int) -> tuple[Operand, ...]:
    """Results of a node whose operands are known.

    Args:
        build: The graph under construction.
        node: A node of one of the operators in `FOLDED`.
        operands: Its operands, `None` where an optional one is absent.
        opset: Version of the standard operator set.

    Raises:
        UnsupportedError: An operand is not known, or a result has an element type that the compiler does not take.
        InputError: The node is not valid.
        ResourceLimitError: An operand or a result is too large to be computed at compile time.
    """
    arrays = {name: _known(build, node, operand) for name, operand in zip(node.input, operands, strict=True) if name}
    for array in arrays.values():
        _check_size(node, array.size)
    _check_size(node, _promised_size(node, arrays, opset))
    return tuple(build.constant(_taken(result)) for result in _computed(node, arrays, opset))


def _known(build: Builder, node: onnx.NodeProto, operand: Operand | None) -> Array:
    assert operand is not None
    constant = build.known_array(operand)
    if constant is None:
        raise UnsupportedError(
            f"{node.op_type} is only computed at compile time, but an operand depends on the inputs or on a dimension",
            help=build.binding_help(operand),
        )
    return constant


def _check_size(node: onnx.NodeProto, elements: int) -> None:
    if elements > MOST_ELEMENTS:
        raise ResourceLimitError(
            f"{node.op_type} with {elements:,} elements is too large to be computed at compile time, the limit is"
            f" {MOST_ELEMENTS:,}"
        )


def _promised_size(node: onnx.NodeProto, arrays: dict[str, Array], opset: int) -> int:
    """Elements of the largest result as far as shape inference knows; unknown ones are bounded by the operands."""
    from onnx.shape_inference import InferenceError, infer_node_outputs

    tensors = {name: onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()}
    kinds = {name: onnx.helper.make_tensor_type_proto(t.data_type, list(t.dims)) for name, t in tensors.items()}
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    try:
        outputs = infer_node_outputs(schema, node, kinds, tensors, opset_imports=[onnx.helper.make_opsetid("", opset)])
    except InferenceError as problem:
        raise InputError(f"{node.op_type} is not valid: {problem}") from None
    dims = [[dim.dim_value for dim in kind.tensor_type.shape.dim] for kind in outputs.values()]
    return max(map(math.prod, dims), default=0)


def _computed(node: onnx.NodeProto, arrays: dict[str, Array], opset: int) -> list[Array]:
    from onnx.reference import ReferenceEvaluator

    infos = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items()
    ]
    named = [name for name in node.output if name]
    results = [onnx.helper.make_empty_tensor_value_info(name) for name in named]
    graph = onnx.helper.make_graph([node], "node", infos, results)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = dict(zip(named, ReferenceEvaluator(model).run(None, arrays), strict=True))
        except (ValueError, TypeError, IndexError, RuntimeError, AssertionError) as problem:
            raise InputError(f"{node.op_type} of constants cannot be computed: {problem}") from problem
    return [np.asarray(found[name]) if name else np.zeros(0, np.float32) for name in node.output]


def _taken(array: Array) -> Array:
    if array.dtype.name not in DTYPES.values():
        raise UnsupportedError(f"the element type {array.dtype.name.upper()} is not supported")
    return array
