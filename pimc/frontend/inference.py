"""Result types of graph operations during the import; equalities of symbols are learnt on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from isa import InputError, UnsupportedError
from passes import FLOAT_DTYPES, Dim, TensorType
from pimc.frontend.dim_products import same_product
from pimc.frontend.symbols import SymbolTable, dimensions_help

Attributes = Mapping[str, Any]
Rule = Callable[[SymbolTable, Sequence[TensorType], Attributes], list[TensorType]]

_COMPARISONS = ("equal", "less", "less_equal", "greater", "greater_equal", "and", "or", "xor")
_ARITHMETIC = ("add", "sub", "mul", "div", "mod", "max", "min")
_MATHEMATICAL = ("sqrt", "reciprocal", "exp", "log", "sin", "cos", "tanh", "erf", "sigmoid", "silu", "gelu")
_ROUNDING = ("floor", "ceil", "round")
_SHAPE_KEEPING = ("neg", "abs", "relu", "sign", "not", "identity", "cumsum", "trilu")
_NORMS = ("softmax", "layer_norm", "rms_norm")


def infer(symbols: SymbolTable, op: str, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    """Types of the results.

    Args:
        symbols: Equalities known so far; new ones are added.
        op: Operation of `passes.OPS`, one that exists before fusion.
        kinds: Types of the operands that are present, with all known equalities applied.
        attributes: Attributes of the operation.

    Raises:
        InputError: Shapes do not fit together.
        UnsupportedError: Shapes fit only for some values of the symbols, or are not affine.
    """
    return _RULES[op](symbols, kinds, attributes)


def broadcast(symbols: SymbolTable, shapes: Sequence[Sequence[Dim]]) -> tuple[Dim, ...]:
    """The shape that numpy's broadcasting gives; two symbolic dimensions that meet are taken to be equal."""
    rank = max(len(shape) for shape in shapes)
    result: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, dim in enumerate(shape, rank - len(shape)):
            result[axis] = _meet(symbols, result[axis], dim, shapes)
    return symbols.resolve_all(result)


def _meet(symbols: SymbolTable, a: Dim, b: Dim, shapes: Sequence[Sequence[Dim]]) -> Dim:
    a, b = symbols.resolve(a), symbols.resolve(b)
    if a == b or b == 1:
        return a
    if a == 1:
        return b
    written = " and ".join(f"[{', '.join(str(dim) for dim in shape)}]" for shape in shapes)
    if isinstance(a, int) and isinstance(b, int):
        raise InputError(f"the shapes {written} do not broadcast")
    return symbols.unify(a, b, f"broadcasting {written}")


def _elementwise(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    _check_alike(kinds)
    return [TensorType(kinds[0].dtype, broadcast(symbols, [kind.shape for kind in kinds]))]


def _power(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    return [TensorType(kinds[0].dtype, broadcast(symbols, [kind.shape for kind in kinds]))]


def _check_alike(kinds: Sequence[TensorType]) -> None:
    if len({kind.dtype for kind in kinds}) > 1:
        raise InputError(f"the operands {', '.join(map(str, kinds))} have different element types")


def _comparison(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    _check_alike(kinds)
    return [TensorType("bool", broadcast(symbols, [kind.shape for kind in kinds]))]


def _where(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    _check_alike(kinds[1:])
    return [TensorType(kinds[1].dtype, broadcast(symbols, [kind.shape for kind in kinds]))]


def _same(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    return [kinds[0]]


def _mathematical(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    if kinds[0].dtype not in FLOAT_DTYPES:
        raise UnsupportedError(f"{kinds[0]} is given where floating point is needed", help="cast it in the model")
    return [kinds[0]]


def _cast(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    return [TensorType(attributes["to"], kinds[0].shape)]


def _is_nan(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    return [TensorType("bool", kinds[0].shape)]


def _matmul(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    a, b = kinds
    _check_alike(kinds)
    if not a.rank or not b.rank:
        raise InputError(f"{a} and {b} cannot be multiplied as matrices")
    left, right = a.shape if a.rank > 1 else (1, *a.shape), b.shape if b.rank > 1 else (*b.shape, 1)
    symbols.unify(left[-1], right[-2], f"the matrix product of {a} and {b}")
    batch = broadcast(symbols, [left[:-2], right[:-2]])
    rows, columns = (left[-2],) if a.rank > 1 else (), (right[-1],) if b.rank > 1 else ()
    return [TensorType(a.dtype, symbols.resolve_all((*batch, *rows, *columns)))]


def _reduced(shape: Sequence[Dim], axes: Sequence[int], keepdims: bool) -> tuple[Dim, ...]:
    if keepdims:
        return tuple(1 if axis in axes else dim for axis, dim in enumerate(shape))
    return tuple(dim for axis, dim in enumerate(shape) if axis not in axes)


def _reduce(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    shape = _reduced(kinds[0].shape, attributes["axes"], attributes["keepdims"])
    return [TensorType(kinds[0].dtype, shape)]


def _argmax(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    return [TensorType("int64", _reduced(kinds[0].shape, (attributes["axis"],), attributes["keepdims"]))]


def _topk(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    shape, axis, k = list(kinds[0].shape), attributes["axis"], attributes["k"]
    size = shape[axis]
    if isinstance(size, int) and not 0 <= k <= size:
        raise InputError(f"the {k} best elements of {size} are asked for")
    shape[axis] = k
    return [TensorType(kinds[0].dtype, tuple(shape)), TensorType("int64", tuple(shape))]


def _reshape(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    same_product(symbols, kinds[0].shape, attributes["shape"])
    return [TensorType(kinds[0].dtype, symbols.resolve_all(attributes["shape"]))]


def _expand(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    return [TensorType(kinds[0].dtype, broadcast(symbols, [kinds[0].shape, attributes["shape"]]))]


def _transpose(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    perm: tuple[int, ...] = attributes["perm"]
    return [TensorType(kinds[0].dtype, tuple(kinds[0].shape[axis] for axis in perm))]


def _slice(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    shape = list(kinds[0].shape)
    shape[attributes["axis"]] = span_length(attributes["start"], attributes["stop"], attributes["step"])
    return [TensorType(kinds[0].dtype, tuple(shape))]


def span_length(start: Dim, stop: Dim, step: Dim) -> Dim:
    """Number of elements in start, start + step, ... before stop; symbolic spans must be whole multiples of the step.

    Raises:
        UnsupportedError: The number is not affine.
    """
    span = stop - start
    if isinstance(span, int) and isinstance(step, int):
        return max(0, -(-span // step))
    if isinstance(step, int) and abs(step) == 1:
        return span * step
    message = f"the length of {start}:{stop}:{step} is not affine"
    raise UnsupportedError(message, help=dimensions_help((start, stop, step)))


def _concat(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    axis = attributes["axis"]
    shape = list(kinds[0].shape)
    _check_alike(kinds)
    if any(kind.rank != len(shape) for kind in kinds):
        raise InputError(f"tensors of different rank cannot be joined: {', '.join(map(str, kinds))}")
    for kind in kinds[1:]:
        for position, dim in enumerate(kind.shape):
            if position == axis:
                shape[axis] = shape[axis] + dim
            else:
                shape[position] = symbols.unify(shape[position], dim, "joining tensors")
    return [TensorType(kinds[0].dtype, symbols.resolve_all(shape))]


def _split(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    axis, shape = attributes["axis"], kinds[0].shape
    sizes: tuple[Dim, ...] = attributes["sizes"]
    total: Dim = 0
    for size in sizes:
        total = total + size
    symbols.unify(total, shape[axis], "splitting")
    return [TensorType(kinds[0].dtype, (*shape[:axis], size, *shape[axis + 1 :])) for size in sizes]


def _gather(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    data, indices = kinds
    axis = attributes["axis"]
    return [TensorType(data.dtype, (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]))]


def _depth(indices: TensorType) -> int:
    """Number of components of each index."""
    depth = indices.shape[-1] if indices.rank else None
    if not isinstance(depth, int):
        raise UnsupportedError(f"the last axis of the indices {indices} must be a number")
    if depth < 1:
        raise InputError(f"the indices {indices} have no components")
    return depth


def _gather_nd(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    data, indices = kinds
    batch_dims, depth = attributes["batch_dims"], _depth(indices)
    if not 0 <= batch_dims < indices.rank or batch_dims + depth > data.rank:
        raise InputError(f"the indices {indices} with {batch_dims} batch axes do not fit {data}")
    for a, b in zip(data.shape[:batch_dims], indices.shape[:batch_dims], strict=True):
        symbols.unify(a, b, "gathering by batch")
    return [TensorType(data.dtype, symbols.resolve_all((*indices.shape[:-1], *data.shape[batch_dims + depth :])))]


def _scatter_nd(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    data, indices, updates = kinds
    wanted = (*indices.shape[:-1], *data.shape[_depth(indices) :])
    if len(wanted) != updates.rank or _depth(indices) > data.rank:
        raise InputError(f"the updates {updates} do not fit indices {indices} of {data}")
    for a, b in zip(wanted, updates.shape, strict=True):
        symbols.unify(a, b, "scattering")
    return [symbols.resolve_type(data)]


def _gather_elements(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    if kinds[0].rank != kinds[1].rank:
        raise InputError(f"the indices {kinds[1]} and {kinds[0]} have different ranks")
    return [TensorType(kinds[0].dtype, kinds[1].shape)]


def _range(symbols: SymbolTable, kinds: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    start, stop, step = (attributes[name] for name in ("start", "stop", "step"))
    if step == 0:
        raise InputError("a range with a step of 0 never ends")
    if any(isinstance(number, float) for number in (start, stop, step)):
        return [TensorType(attributes["to"], (max(0, int(-(-(stop - start) // step))),))]
    return [TensorType(attributes["to"], (span_length(start, stop, step),))]


_RULES: dict[str, Rule] = {
    **dict.fromkeys(_ARITHMETIC, _elementwise),
    **dict.fromkeys(_COMPARISONS, _comparison),
    **dict.fromkeys((*_MATHEMATICAL, *_ROUNDING, *_NORMS), _mathematical),
    **dict.fromkeys(_SHAPE_KEEPING, _same),
    "pow": _power,
    **dict.fromkeys(("reduce_sum", "reduce_mean", "reduce_max", "reduce_min"), _reduce),
    "where": _where,
    "cast": _cast,
    "is_nan": _is_nan,
    "matmul": _matmul,
    "argmax": _argmax,
    "topk": _topk,
    "reshape": _reshape,
    "expand": _expand,
    "transpose": _transpose,
    "slice": _slice,
    "concat": _concat,
    "split": _split,
    "gather": _gather,
    "gather_nd": _gather_nd,
    "gather_elements": _gather_elements,
    "scatter_nd": _scatter_nd,
    "range": _range,
}
