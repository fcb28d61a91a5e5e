"""Named arrays of inputs and outputs in npz files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import InputError, Place
from pimc.files import write_atomically


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file by name; nothing in it is executed.

    Raises:
        InputError: the file cannot be read, is no npz file, or holds pickled objects.
    """
    place = Place(str(path))
    try:
        with Path(path).open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                raise InputError("one array without a name", place, help="write it with numpy.savez(file, name=array)")
            return {name: loaded[name] for name in loaded.files}
    except OSError as problem:
        raise InputError(f"cannot read the file: {problem.strerror or problem}", place) from None
    except (ValueError, EOFError, zipfile.BadZipFile) as problem:
        raise InputError("not an npz file of plain arrays", place, notes=[str(problem)]) from None


def write_arrays(path: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an npz file, complete or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    with write_atomically(path) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # its stub takes the keyword `allow_pickle` for an array
