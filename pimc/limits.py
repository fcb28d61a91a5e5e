"""Limits on memory and time of the whole process."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from isa import ResourceLimitError, UnsupportedError


class _TimeIsOverError(BaseException):
    """Raised by the timer wherever the program is; no handler of ordinary errors may take it for one of its own."""


def limit_memory(limit_bytes: int) -> None:
    """Let allocations beyond `limit_bytes` of data fail with `MemoryError`; memory maps of files do not count.

    Raises:
        UnsupportedError: the system has no such limit.
    """
    try:
        import resource
    except ImportError:
        raise UnsupportedError("--mem-limit needs a POSIX system", help="leave it out") from None
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))


@contextmanager
def limit_time(limit_s: float) -> Generator[None]:
    """Raise `ResourceLimitError` in the body once it has run for `limit_s` seconds; main thread only.

    Raises:
        UnsupportedError: the system has no timer.
    """
    if not hasattr(signal, "setitimer"):
        raise UnsupportedError("--time-limit needs a POSIX system", help="leave it out")

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _TimeIsOverError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    except _TimeIsOverError:
        raise ResourceLimitError(f"not finished after {limit_s:g} s", help="give more with --time-limit") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
