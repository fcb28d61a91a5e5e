"""Types of the model's inputs: dimension texts as affine expressions, and the numbers that the user binds."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

import onnx

from isa import InputError, Place, UnsupportedError
from passes import Affine, Dim, TensorType, bind, parse_dim, symbol
from pimc.frontend.tensors import dtype_name

_EXPRESSION = re.compile(r"\s*-?\s*(\d+\s*\*\s*)?(\d+|[A-Za-z_]\w*)(\s*[-+]\s*(\d+\s*\*\s*)?(\d+|[A-Za-z_]\w*))*\s*")


def input_types(graph: onnx.GraphProto, dims: Mapping[str, int], place: Place) -> dict[str, TensorType]:
    """Types of the inputs by name, with the bound dimensions as numbers.

    A dimension text such as `past + seq` is read as an affine expression; a text that is none, and a dimension without
    a text, becomes a symbol of its own. A symbol that stands alone on the first axis of some input and whose name
    begins with `batch` is 1 unless `dims` binds it: a compiled program serves a fixed batch, and one sequence is the
    default.

    Args:
        graph: The ONNX graph.
        dims: Numbers by name of the dimension.
        place: The model, for messages.

    Raises:
        InputError: `dims` names a dimension that the model does not have, a number below 0, or no sequences at all.
        UnsupportedError: An input is no tensor of known rank and supported element type.
    """
    weights = {tensor.name for tensor in graph.initializer}
    types = {info.name: _input_type(info, place) for info in graph.input if info.name not in weights}
    symbols = list(dict.fromkeys(name for kind in types.values() for dim in kind.shape for name in _names(dim)))
    _check_bindings(symbols, dims, place)
    _check_first_axes(types, dims, place)
    numbers = {name: 1 for kind in types.values() for name in _batch_symbol(kind)} | dict(dims)
    return {
        name: TensorType(kind.dtype, tuple(bind(dim, numbers) for dim in kind.shape)) for name, kind in types.items()
    }


def parse_dimension(text: str) -> Dim:
    """An affine expression from the text of a dimension; other texts give one symbol that is spelled alike."""
    if _EXPRESSION.fullmatch(text):
        return parse_dim(text)
    return symbol(re.sub(r"\W", "_", text.strip()) or "unnamed")


def _names(dim: Dim) -> list[str]:
    return [name for name, _ in dim.terms] if isinstance(dim, Affine) else []


def _batch_symbol(kind: TensorType) -> list[str]:
    names = _names(kind.shape[0]) if kind.shape else []
    return [name for name in names if name.lower().startswith("batch") and kind.shape[0] == symbol(name)]


def _input_type(info: onnx.ValueInfoProto, place: Place) -> TensorType:
    where = Place(place.file, node=info.name)
    if not info.type.HasField("tensor_type") or not info.type.tensor_type.HasField("shape"):
        raise UnsupportedError(
            f"the input '{info.name}' is not a tensor of known rank", where, help="export the model with typed inputs"
        )
    tensor = info.type.tensor_type
    shape = tuple(_dimension(info.name, axis, dim) for axis, dim in enumerate(tensor.shape.dim))
    return TensorType(dtype_name(tensor.elem_type, where), shape)


def _dimension(name: str, axis: int, dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return dim.dim_value
    if dim.dim_param:
        return parse_dimension(dim.dim_param)
    return parse_dimension(f"{name}_axis{axis}".replace(".", "_").replace("/", "_"))


def _check_bindings(symbols: list[str], dims: Mapping[str, int], place: Place) -> None:
    for name, number in dims.items():
        if name not in symbols:
            close = difflib.get_close_matches(name, symbols, 1, cutoff=0.4)
            raise InputError(
                f"the model has no dimension '{name}'",
                place,
                notes=[f"its dimensions: {', '.join(symbols) or 'none, all are numbers'}"],
                help=f"did you mean '{close[0]}'?" if close else None,
            )
        if number < 0:
            raise InputError(f"the dimension '{name}' cannot be {number}", place)


def _check_first_axes(types: Mapping[str, TensorType], dims: Mapping[str, int], place: Place) -> None:
    """First axes count sequences, images or rows: without any nothing runs; a model that fixes 0 means it."""
    for name, kind in types.items():
        if len(kind.shape) > 1 and isinstance(kind.shape[0], Affine) and bind(kind.shape[0], dims) == 0:
            raise InputError(f"the first axis of '{name}' cannot be 0: a run has at least one of them", place)
