"""ONNX tensors as numpy arrays, without copying where the bytes lie in a file or in one piece."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes  # noqa: F401 (registers bfloat16 with numpy)
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from isa import InputError, PimcError, Place, UnsupportedError
from pimc.frontend.external_data import ExternalFiles
from pimc.frontend.limits import Limits, check_limit

Array = NDArray[Any]

DTYPES: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64",
    TensorProto.INT64: "int64",
    TensorProto.INT32: "int32",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
    TensorProto.BOOL: "bool",
}
"""numpy names of the ONNX element types that the compiler takes."""

PACKED_BITS: dict[int, tuple[int, str]] = {
    TensorProto.INT4: (4, "int8"),
    TensorProto.UINT4: (4, "uint8"),
    TensorProto.INT2: (2, "int8"),
    TensorProto.UINT2: (2, "uint8"),
}
"""ONNX element types of less than a byte, which weights may have: bits, and the dtype that holds one element."""

_TYPED_FIELDS = {
    "float32": "float_data",
    "float64": "double_data",
    "int64": "int64_data",
}


def dtype_name(element_type: int, place: Place) -> str:
    """The numpy name of an ONNX element type; `UnsupportedError` when there is none."""
    if element_type not in DTYPES:
        known = TensorProto.DataType.values()
        name = TensorProto.DataType.Name(element_type) if element_type in known else str(element_type)
        raise UnsupportedError(
            f"the element type {name} is not supported", place, notes=[f"supported: {', '.join(DTYPES.values())}"]
        )
    return DTYPES[element_type]


def tensor_array(tensor: onnx.TensorProto, files: ExternalFiles, limits: Limits, place: Place) -> Array:
    """Contents of a tensor as a read-only array; elements of less than a byte are widened to one.

    The number of bytes is compared with shape and type before any data is touched.

    Raises:
        InputError: Shape and data do not fit together, or external data cannot be read.
        UnsupportedError: An element type that the compiler does not take.
        ResourceLimitError: More dimensions or elements than the limits allow.
    """
    try:
        return _array(tensor, files, limits, place)
    except PimcError as problem:
        if tensor.name:
            problem.message = f"tensor '{tensor.name}': {problem.message}"
        raise


def _array(tensor: onnx.TensorProto, files: ExternalFiles, limits: Limits, place: Place) -> Array:
    bits, name = PACKED_BITS.get(tensor.data_type) or (0, dtype_name(tensor.data_type, place))
    dtype = np.dtype(name)
    shape = tuple(tensor.dims)
    check_limit("the rank", len(shape), limits.rank, place)
    if any(size < 0 for size in shape):
        raise InputError(f"the shape {list(shape)} has a negative dimension", place)
    elements = math.prod(shape)
    check_limit("the number of elements", elements, limits.elements, place)
    needed = -(-elements * bits // 8) if bits else elements * dtype.itemsize
    if tensor.data_location == TensorProto.EXTERNAL:
        content: memoryview | bytes = _external(tensor, files, needed, place)
    elif tensor.HasField("raw_data"):
        content = tensor.raw_data
        if len(content) != needed:
            raise InputError(f"the shape {list(shape)} takes {needed:,} bytes, but there are {len(content):,}", place)
    else:
        return _typed(tensor, dtype, shape, place) if not bits else _typed_packed(tensor, bits, dtype, shape, place)
    if bits:
        return _unpacked(np.frombuffer(content, np.uint8) if needed else np.zeros(0, np.uint8), bits, dtype, shape)
    array = np.frombuffer(content, dtype) if needed else np.zeros(0, dtype)
    return array.reshape(shape)


def _external(tensor: onnx.TensorProto, files: ExternalFiles, needed: int, place: Place) -> memoryview:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if "location" not in entries:
        raise InputError("the tensor has external data, but the model does not say where", place)
    offset = _count(entries, "offset", place)
    return files.bytes_of(entries["location"], offset or 0, _count(entries, "length", place), needed, place)


def _count(entries: dict[str, str], key: str, place: Place) -> int | None:
    if key not in entries:
        return None
    text = entries[key]
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InputError(f"the {key} '{text}' of the external data is not a number of bytes", place)
    return int(text)


def _typed(tensor: onnx.TensorProto, dtype: np.dtype[Any], shape: tuple[int, ...], place: Place) -> Array:
    """From the repeated fields; small integers and half precision bit patterns stand in `int32_data`."""
    field = _TYPED_FIELDS.get(dtype.name, "int32_data")
    data = getattr(tensor, field)
    if len(data) != math.prod(shape):
        needed = math.prod(shape)
        raise InputError(f"the shape {list(shape)} takes {needed:,} values, but there are {len(data):,}", place)
    if dtype.name in ("float16", "bfloat16"):
        return np.array(data, np.int64).astype(np.uint16).view(dtype).reshape(shape)
    array = np.array(data, dtype=np.int64 if field == "int32_data" else dtype).astype(dtype).reshape(shape)
    array.flags.writeable = False
    return array


def _typed_packed(
    tensor: onnx.TensorProto, bits: int, dtype: np.dtype[Any], shape: tuple[int, ...], place: Place
) -> Array:
    """From `int32_data`, whose numbers hold a byte each."""
    needed = -(-math.prod(shape) * bits // 8)
    if len(tensor.int32_data) != needed:
        found = len(tensor.int32_data)
        raise InputError(f"the shape {list(shape)} takes {needed:,} values, but there are {found:,}", place)
    return _unpacked(np.array(tensor.int32_data, np.int64).astype(np.uint8), bits, dtype, shape)


def _unpacked(packed: Array, bits: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Elements out of bytes, lowest bits first; signed ones are in two's complement."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes: Array = ((packed[:, None] >> shifts) & np.uint8((1 << bits) - 1)).reshape(-1)[: math.prod(shape)]
    if dtype.kind == "i":
        codes = (codes << np.uint8(8 - bits)).view(np.int8) >> np.int8(8 - bits)
    array = codes.astype(dtype).reshape(shape)
    array.flags.writeable = False
    return array
