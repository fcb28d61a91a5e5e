"""The file that arrays came from, in the errors that they cause."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def blaming(path: str | None) -> Generator[None]:
    """Give refusals of inputs that name no place the file of the inputs as theirs.

    Args:
        path: The npz file; `None` when the inputs came from elsewhere.
    """
    from isa import InputError, Place

    try:
        yield
    except InputError as problem:
        if path is not None and problem.place is None:
            problem.place = Place(path)
        raise
