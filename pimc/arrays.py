"""Named arrays of inputs and outputs in npz files."""

from __future__ import annotations

import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from isa import InputError, Place
from pimc.files import write_atomically

_SUFFIX = ".npy"
_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}

_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tokenize.TokenError,
    SyntaxError,
    EOFError,
    ValueError,
    TypeError,
    OverflowError,
    RuntimeError,  # encrypted members; `NotImplementedError` for unknown compressions is one too
)
"""What the readers of archives and headers raise for contents that are broken or beyond them."""


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file by name; nothing in it is executed.

    Raises:
        InputError: the file cannot be read, is no npz file, or holds pickled objects.
    """
    place = Place(str(path))
    try:
        with Path(path).open("rb") as stream:
            return _read(stream, place)
    except OSError as problem:
        raise InputError(f"cannot read the file: {problem.strerror or problem}", place) from None
    except _FAULTS as problem:
        note = str(problem) or type(problem).__name__
        raise InputError("not an npz file of plain arrays", place, notes=[note]) from None


def _read(stream: BinaryIO, place: Place) -> dict[str, NDArray[Any]]:
    if stream.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
        raise InputError("one array without a name", place, help="write it with numpy.savez(file, name=array)")
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                arrays[info.filename.removesuffix(_SUFFIX)] = _read_member(member, info.filename)
    return arrays


def _read_member(member: IO[bytes], name: str) -> NDArray[Any]:
    """One array; its data are as long as the header says, so that a false header takes no memory."""
    version = npy.read_magic(member)
    if version not in _HEADER_READERS:
        raise ValueError(f"'{name}' has the version {version[0]}.{version[1]}, which plain arrays do not need")
    shape, fortran_order, dtype = _HEADER_READERS[version](member)
    if dtype.hasobject:
        raise ValueError(f"'{name}' holds pickled objects")
    data, expected = member.read(), math.prod(shape) * dtype.itemsize
    if len(data) != expected or min(shape, default=0) < 0:
        raise ValueError(f"'{name}' has {len(data)} bytes, {dtype} {list(shape)} takes {expected}")
    if not expected:
        return np.empty(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C").copy()


def write_arrays(path: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an npz file, complete or not at all; equal arrays give equal bytes.

    Raises:
        InputError: the file cannot be written.
    """
    with write_atomically(path) as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            with archive.open(name + _SUFFIX, "w", force_zip64=True) as member:
                npy.write_array(member, np.asarray(array), allow_pickle=False)
