"""How the timing kernels are compiled: one machine-code version each, 64-bit integers, kept in numba's disk cache.

Types are given rather than inferred, so that a constant among the arguments does not compile another version.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba import boolean, int64, types, void
from numba.core import cpu
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., Any])

CYCLES: Any = int64[::1]
"""One-dimensional int64 array: tables, counters, the state of one channel."""

TABLE: Any = int64[:, ::1]
"""Two-dimensional int64 array: the states of several channels."""

TABLES: Any = int64[:, :, ::1]
"""Three-dimensional int64 array: a table for each of several channels."""

_njit: Any = numba.njit


def uncounted_options(target: object) -> dict[str, bool]:
    """Options for code that counts no references to arrays, so that slices cost nothing.

    `_nrt` is a private option of numba. A version whose `target` options lack it counts references: slower, the same
    figures.
    """
    return {"_nrt": False} if hasattr(target, "_nrt") else {}


_UNCOUNTED = uncounted_options(getattr(cpu, "CPUTargetOptions", None))

INTEGER: Any = int64
FLAG: Any = boolean
NOTHING: Any = void
PAIR: Any = types.UniTuple(int64, 2)  # type: ignore[no-untyped-call]


def compiled(result: Any, *arguments: Any) -> Callable[[_Function], _Function]:
    """Decorator that compiles a function of the given types without the interpreter lock.

    The function makes no arrays, so its code counts no references: slices of its arguments cost nothing.
    """
    decorator = _njit(result(*arguments), cache=True, nogil=True, error_model="numpy", **_UNCOUNTED)
    return cast("Callable[[_Function], _Function]", decorator)


def compiled_with_arrays(result: Any, *arguments: Any) -> Callable[[_Function], _Function]:
    """Decorator as `compiled`, for a function that makes arrays."""
    decorator = _njit(result(*arguments), cache=True, nogil=True, error_model="numpy")
    return cast("Callable[[_Function], _Function]", decorator)


def compiled_when_called(function: _Function) -> _Function:
    """Decorator for a function that takes named tuples, whose types only a call shows."""
    return cast("_Function", _njit(cache=True, nogil=True, error_model="numpy")(function))


def inlined(function: _Function) -> _Function:
    """Decorator for a part of a compiled function: it has no machine code of its own."""
    return cast("_Function", _njit(forceinline=True, nogil=True, error_model="numpy", **_UNCOUNTED)(function))


def _borrowed(_context: Any, array: Any) -> tuple[Any, Callable[..., Any]]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        for name in ("meminfo", "parent"):
            setattr(view, name, getattr(view, name).type(None))
        return view._getvalue()

    return array(array), generate


borrowed: Any = intrinsic(_borrowed)
"""f(array): the same array without its reference count, so that slices of it cost no atomic increments.

Only for what outlives the compiled function: its arguments, and arrays that another of its names keeps.
"""
