"""Reading of external tensor data by memory map, confined to the folder of the model."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from pathlib import Path, PurePosixPath

from isa import InputError, Place
from pimc.frontend.limits import Limits, check_limit

_MOVE_HELP = "keep the file beside the model, as the exporter wrote it"


class ExternalFiles:
    """Memory maps of the files that a model's tensors refer to.

    A location is walked component by component from the model's folder without following symbolic links; only regular
    files with one name are mapped. So a hostile model cannot make the compiler read anything else.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self._limits = limits
        self._maps: dict[str, memoryview] = {}

    def bytes_of(self, location: str, offset: int, length: int | None, needed: int, place: Place) -> memoryview:
        """A view of `needed` bytes at `offset`.

        Args:
            location: Path relative to the model's folder, as the model says.
            offset: First byte.
            length: Number of bytes that the model says, or `None`.
            needed: Number of bytes that shape and type of the tensor take.
            place: The tensor, for messages.

        Raises:
            InputError: The file is missing or outside the folder, or sizes do not fit.
            ResourceLimitError: The files together are larger than the limit.
        """
        content = self.whole(location, place)
        if length is not None and length != needed:
            raise InputError(
                f"the tensor takes {needed:,} bytes, but the model says that '{location}' holds {length:,} for it",
                place,
            )
        if offset < 0 or offset + needed > len(content):
            raise InputError(
                f"bytes {offset:,} to {offset + needed:,} do not lie within '{location}' of {len(content):,} bytes",
                place,
                help="the data file is cut short or belongs to another model; copy it again",
            )
        return content[offset : offset + needed]

    def whole(self, location: str, place: Place) -> memoryview:
        """A view of the whole file; errors as in `bytes_of`."""
        if location not in self._maps:
            descriptor = _open_confined(self.folder, location, place)
            try:
                size = _checked_size(descriptor, location, place)
                total = size + sum(len(content) for content in self._maps.values())
                check_limit("the external data in bytes", total, self._limits.external_bytes, place)
                content = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) if size else b""
                self._maps[location] = memoryview(content)
            finally:
                os.close(descriptor)
        return self._maps[location]


def _open_confined(folder: Path, location: str, place: Place) -> int:
    parts = PurePosixPath(location).parts
    if not parts or "\0" in location or location.startswith("/") or ".." in parts:
        raise InputError(f"the location '{location}' is outside the model's folder", place, help=_MOVE_HELP)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
    except OSError as problem:
        raise _refusal(problem, location, folder, place) from None
    finally:
        os.close(descriptor)


def _refusal(problem: OSError, location: str, folder: Path, place: Place) -> InputError:
    if problem.errno in (errno.ELOOP, errno.ENOTDIR):
        return InputError(f"the location '{location}' goes through a symbolic link or a file", place, help=_MOVE_HELP)
    if problem.errno == errno.ENOENT:
        return InputError(
            f"the external data file '{location}' is missing",
            place,
            notes=[f"looked in the model's folder '{folder}'"],
            help="copy the file that the exporter wrote together with the model",
        )
    return InputError(f"cannot open the external data file '{location}': {problem.strerror}", place)


def _checked_size(descriptor: int, location: str, place: Place) -> int:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"the location '{location}' is not a regular file", place, help=_MOVE_HELP)
    if status.st_nlink > 1:
        raise InputError(
            f"the location '{location}' is a hard link, which may lead out of the model's folder",
            place,
            help="replace it by a copy of the file",
        )
    return status.st_size
