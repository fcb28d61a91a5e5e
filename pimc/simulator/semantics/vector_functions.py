"""Functions of the vector unit and of the activation units, on binary32 arrays."""

from __future__ import annotations

from collections.abc import Callable
from math import erf as _scalar_erf
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from isa import VECTOR_FUNCTIONS
from pimc.simulator.semantics.numerics import rounded_to_bfloat16

Floats = NDArray[Any]
"""Binary32 values."""

_ONE = np.float32(1.0)
_HALF = np.float32(0.5)
_INVERSE_SQRT_2 = np.float32(0.7071067811865476)
_SQRT_2_OVER_PI = np.float32(0.7978845608028654)
_GELU_CUBIC = np.float32(0.044715)


@njit(cache=True, nogil=True)
def _erf_into(result: Any, values: Any) -> None:
    for index in range(values.size):
        result[index] = _scalar_erf(values[index])


def erf(values: Floats) -> Floats:
    """Error function, computed in binary64 and rounded once."""
    flat = np.ascontiguousarray(values).reshape(-1)
    result = np.empty_like(flat)
    _erf_into(result, flat)
    return result.reshape(values.shape)


def _copy(values: Floats) -> Floats:
    return values


def _rsqrt(values: Floats) -> Floats:
    return _ONE / np.sqrt(values)


def _sigmoid(values: Floats) -> Floats:
    return _ONE / (_ONE + np.exp(-values))


def _relu(values: Floats) -> Floats:
    return np.maximum(values, np.float32(0.0))


def _silu(values: Floats) -> Floats:
    return values / (_ONE + np.exp(-values))


def _gelu(values: Floats) -> Floats:
    return _HALF * values * (_ONE + erf(values * _INVERSE_SQRT_2))


def _gelu_tanh(values: Floats) -> Floats:
    inner = _SQRT_2_OVER_PI * (values + _GELU_CUBIC * values * values * values)
    return np.asarray(_HALF * values * (_ONE + np.tanh(inner)))


def _float16(values: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


FUNCTIONS: dict[str, Callable[[Floats], Floats]] = {
    "copy": _copy,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": _rsqrt,
    "reciprocal": np.reciprocal,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "erf": erf,
    "sin": np.sin,
    "cos": np.cos,
    "abs": np.abs,
    "relu": _relu,
    "floor": np.floor,
    "ceil": np.ceil,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "round": np.rint,
    "sign": np.sign,
    "float16": _float16,
    "bfloat16": rounded_to_bfloat16,
}
"""Functions from binary32 to binary32 by name; `from_int` and `to_int` change the type of the words instead."""

FROM_INT = VECTOR_FUNCTIONS.index("from_int")
TO_INT = VECTOR_FUNCTIONS.index("to_int")
FUNCTION_OF_CODE = tuple(FUNCTIONS.get(name, _copy) for name in VECTOR_FUNCTIONS)
"""The function of each code of the operand `fn`; conversions are `copy` here."""

_LOWEST, _HIGHEST = np.float32(-(2.0**31)), np.float32(2.0**31)


def to_int32(values: Floats) -> NDArray[np.int32]:
    """Values rounded towards zero; what lies outside the range of int32 becomes its end, NaN becomes 0."""
    result = np.where(values >= _HIGHEST, np.float64(2**31 - 1), np.trunc(np.maximum(values, _LOWEST)))
    return np.nan_to_num(result, nan=0.0).astype(np.int32)
