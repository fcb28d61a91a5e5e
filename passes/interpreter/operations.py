"""Meaning in numpy of the operations that ONNX knows too: element by element, shape, index and reduction operations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes  # registers bfloat16 with numpy
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Meaning = Callable[..., Array | tuple[Array, ...]]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_ERF_STEPS_PER_UNIT = 64
_ERF_LIMIT = 6.0
_ERF_POINTS = np.arange(int(_ERF_LIMIT * _ERF_STEPS_PER_UNIT) + 1) / _ERF_STEPS_PER_UNIT
_ERF_TABLE = np.array([math.erf(point) for point in _ERF_POINTS])


def widened(x: Array) -> Array:
    """float16 and bfloat16 as float32; every other dtype unchanged."""
    return x.astype(np.float32) if x.dtype in (np.float16, BFLOAT16) else x


def erf(x: Array) -> Array:
    """Error function, to 1e-12: the Taylor series of order 4 around the nearest multiple of 1/64."""
    wide = x.astype(np.float64)
    size = np.minimum(np.abs(np.nan_to_num(wide, nan=0.0, posinf=_ERF_LIMIT, neginf=-_ERF_LIMIT)), _ERF_LIMIT)
    index = np.rint(size * _ERF_STEPS_PER_UNIT).astype(np.int64)
    point = _ERF_POINTS[index]
    h = size - point
    series = h * (1 - h * (point - h * ((2 * point**2 - 1) / 3 - h * (2 * point**3 - 3 * point) / 6)))
    value = _ERF_TABLE[index] + 2 / math.sqrt(math.pi) * np.exp(-(point**2)) * series
    return np.where(np.isnan(wide), wide, np.copysign(value, wide))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    decay = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + decay), decay / (1 + decay)), x.dtype)


def relu(x: Array) -> Array:
    """The larger of x and 0."""
    return np.asarray(np.maximum(x, x.dtype.type(0)))


def silu(x: Array) -> Array:
    """The product of x and sigmoid(x)."""
    return np.asarray(x * sigmoid(x))


def gelu(x: Array, approximate: str) -> Array:
    """Give x * Phi(x), with erf (`none`) or its tanh approximation (`tanh`)."""
    if approximate == "tanh":
        bracket = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    else:
        bracket = erf(x / math.sqrt(2)).astype(x.dtype)
    result: Array = 0.5 * x * (1 + bracket)
    return result


def softmax(x: Array, axis: int) -> Array:
    """exp(x - max) / sum; a row of minus infinity alone gives NaN, as ONNX says."""
    powers = np.exp(x - np.max(x, axis=axis, keepdims=True, initial=-np.inf))
    result: Array = powers / np.sum(powers, axis=axis, keepdims=True)
    return result


def _float(function: Callable[..., Array]) -> Meaning:
    """`function` with half precision operands computed in float32; the caller rounds the result."""

    def meaning(*operands: Array, **attributes: Any) -> Array:
        return function(*(widened(operand) for operand in operands), **attributes)

    return meaning


def _divide(a: Array, b: Array) -> Array:
    if not np.issubdtype(a.dtype, np.integer):
        return np.true_divide(a, b)
    quotient: Array = np.floor_divide(a, b)
    rounded_down = (quotient < 0) & (quotient * b != a)
    return np.asarray(quotient + rounded_down.astype(a.dtype))


def _power(a: Array, b: Array) -> Array:
    if np.issubdtype(a.dtype, np.integer) and np.issubdtype(b.dtype, np.integer):
        inverse = np.where(np.abs(a) == 1, np.where(b % 2 == 0, 1, a), 0)
        return np.where(b < 0, inverse, np.power(a, np.maximum(b, 0))).astype(a.dtype)
    return np.power(a, b).astype(a.dtype)


def _cast(x: Array, to: str) -> Array:
    return x.astype(to)


def _slice(x: Array, axis: int, start: int, stop: int, step: int) -> Array:
    size = x.shape[axis]
    if not 0 <= start <= size or stop > size:
        raise IndexError(f"part {start}:{stop}:{step} does not lie within {size} elements")
    cut = [slice(None)] * x.ndim
    cut[axis] = slice(start, None if stop < 0 else stop, step)
    return x[tuple(cut)]


def _concat(*pieces: Array, axis: int) -> Array:
    return np.concatenate(pieces, axis=axis)


def _split(x: Array, axis: int, sizes: tuple[int, ...]) -> tuple[Array, ...]:
    if sum(sizes) != x.shape[axis]:
        raise ValueError(f"pieces {list(sizes)} do not add up to {x.shape[axis]} elements")
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=axis))


def _gather(x: Array, indices: Array, axis: int) -> Array:
    return np.asarray(np.take(x, indices, axis=axis))


def _gather_nd(x: Array, indices: Array, batch_dims: int) -> Array:
    batch_shape, depth = indices.shape[:batch_dims], indices.shape[-1]
    inner = indices.ndim - 1 - batch_dims
    batch: list[Array] = [
        np.reshape(np.arange(size), (*(1,) * axis, size, *(1,) * (batch_dims - axis - 1 + inner)))
        for axis, size in enumerate(batch_shape)
    ]
    return np.asarray(x[(*batch, *(indices[..., position] for position in range(depth)))])


def _gather_elements(x: Array, indices: Array, axis: int) -> Array:
    return np.asarray(x[_elementwise_index(x, indices, axis)])


def _scatter_nd(x: Array, indices: Array, updates: Array, reduction: str) -> Array:
    result = x.copy()
    places = tuple(indices[..., position] for position in range(indices.shape[-1]))
    if reduction == "none":
        result[places] = updates
    else:
        _COMBINATIONS[reduction].at(result, places, updates)
    return result


_COMBINATIONS: dict[str, np.ufunc] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _elementwise_index(x: Array, indices: Array, axis: int) -> tuple[Array, ...]:
    grid: list[Array] = list(np.indices(indices.shape, sparse=True))
    grid[axis] = np.where(indices < 0, indices + x.shape[axis], indices)
    return tuple(grid)


def _range(start: float, stop: float, step: float, to: str) -> Array:
    return np.arange(start, stop, step).astype(to)


def _trilu(x: Array, upper: bool, diagonal: int) -> Array:
    return np.triu(x, diagonal) if upper else np.tril(x, diagonal)


def _argmax(x: Array, axis: int, keepdims: bool) -> Array:
    return np.asarray(np.argmax(x, axis=axis, keepdims=keepdims))


def _topk(x: Array, k: int, axis: int, largest: bool) -> tuple[Array, Array]:
    """A stable sort of the ranks keeps the order of equal elements; ranks can be negated in every dtype."""
    ranks = np.unique(x, return_inverse=True)[1].reshape(x.shape)
    order = np.argsort(-ranks if largest else ranks, axis=axis, kind="stable")
    places = np.take(order, np.arange(k), axis=axis)
    return np.take_along_axis(x, places, axis), places


def _reduction(function: Callable[..., Array]) -> Meaning:
    def meaning(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return np.asarray(function(widened(x), axis=tuple(axes), keepdims=keepdims)).astype(x.dtype)

    return meaning


def _extreme(function: Callable[..., Array], of_floats: float, of_integers: str) -> Callable[..., Array]:
    """A largest or smallest element that for no elements at all is the end of the dtype's range."""

    def reduction(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
        if x.dtype.kind == "b":
            return function(x, axis=axis, keepdims=keepdims, initial=of_floats > 0)
        initial = of_floats if x.dtype.kind == "f" else getattr(np.iinfo(x.dtype), of_integers)
        return function(x, axis=axis, keepdims=keepdims, initial=initial)

    return reduction


def _integer_mean(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    return np.mean(x, axis=axis, keepdims=keepdims, dtype=x.dtype if x.dtype.kind == "f" else np.float64)


def _identity(x: Array) -> Array:
    return x


def _reshape(x: Array, shape: tuple[int, ...]) -> Array:
    return x.reshape(shape)


def _transpose(x: Array, perm: tuple[int, ...]) -> Array:
    return x.transpose(perm)


MEANINGS: dict[str, Meaning] = {
    "add": _float(np.add),
    "sub": _float(np.subtract),
    "mul": _float(np.multiply),
    "div": _float(_divide),
    "mod": _float(np.mod),
    "pow": _float(_power),
    "max": _float(np.maximum),
    "min": _float(np.minimum),
    "equal": np.equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": _float(np.sqrt),
    "reciprocal": _float(np.reciprocal),
    "exp": _float(np.exp),
    "log": _float(np.log),
    "sin": _float(np.sin),
    "cos": _float(np.cos),
    "tanh": _float(np.tanh),
    "erf": _float(erf),
    "sigmoid": _float(sigmoid),
    "relu": _float(relu),
    "silu": _float(silu),
    "floor": _float(np.floor),
    "ceil": _float(np.ceil),
    "round": _float(np.rint),
    "sign": _float(np.sign),
    "not": np.logical_not,
    "is_nan": np.isnan,
    "identity": _identity,
    "gelu": _float(gelu),
    "cast": _cast,
    "where": np.where,
    "matmul": _float(np.matmul),
    "reduce_sum": _reduction(np.sum),
    "reduce_mean": _reduction(_integer_mean),
    "reduce_max": _reduction(_extreme(np.max, -np.inf, "min")),
    "reduce_min": _reduction(_extreme(np.min, np.inf, "max")),
    "argmax": _argmax,
    "topk": _topk,
    "softmax": _float(softmax),
    "cumsum": _float(np.cumsum),
    "reshape": _reshape,
    "expand": np.broadcast_to,
    "transpose": _transpose,
    "slice": _slice,
    "concat": _concat,
    "split": _split,
    "gather": _gather,
    "gather_nd": _gather_nd,
    "gather_elements": _gather_elements,
    "scatter_nd": _scatter_nd,
    "range": _range,
    "trilu": _trilu,
}
"""By operation: a function of the operands, with the bound attributes as keywords."""
