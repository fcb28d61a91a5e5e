"""How the timing kernels are compiled: one machine-code version each, 64-bit integers, kept in numba's disk cache.

Types are given rather than inferred, so that a constant among the arguments does not compile another version.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import boolean, int64, njit, types, void

_Function = TypeVar("_Function", bound=Callable[..., Any])

CYCLES: Any = int64[::1]
"""One-dimensional int64 array: tables, counters, the state of one channel."""

TABLE: Any = int64[:, ::1]
"""Two-dimensional int64 array: the states of several channels."""

INTEGER: Any = int64
FLAG: Any = boolean
NOTHING: Any = void
PAIR: Any = types.UniTuple(int64, 2)  # type: ignore[no-untyped-call]


def compiled(result: Any, *arguments: Any) -> Callable[[_Function], _Function]:
    """Decorator that compiles a function of the given types without the interpreter lock."""
    decorator = njit(result(*arguments), cache=True, nogil=True, error_model="numpy")
    return cast("Callable[[_Function], _Function]", decorator)
