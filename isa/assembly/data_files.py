"""Data files that assembly text names: beside the text, so that a foreign text cannot reach anything else."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_data_file(folder: Path, name: str, allowed: Path | None = None) -> BinaryIO:
    """Open the file that a text in `folder` calls `name`.

    The path is relative, has no `..`, and is walked component by component without following symbolic links. Only
    `allowed`, which the user himself gave, may be anywhere.

    Raises:
        ValueError: `name` leads out of the folder, or is no regular file.
        OSError: the file cannot be opened.
    """
    if allowed is not None and os.path.abspath(folder / name) == os.path.abspath(allowed):
        return allowed.open("rb")
    parts = PurePosixPath(name).parts
    if not parts or "\0" in name or name.startswith("/") or ".." in parts:
        raise ValueError("it does not lie in the folder of the text")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        found = os.open(parts[-1], _FILE, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    stream = os.fdopen(found, "rb", closefd=True) if stat.S_ISREG(os.fstat(found).st_mode) else None
    if stream is None:
        os.close(found)
        raise ValueError("it is no regular file")
    return stream


def reaches_data_file(folder: Path, name: str) -> bool:
    """Whether a text in `folder` may call a data file `name`."""
    try:
        open_data_file(folder, name).close()
    except (OSError, ValueError):
        return False
    return True
