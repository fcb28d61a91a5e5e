"""Files that appear complete or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from isa.errors import InputError, Place


def check_output(path: str | Path) -> None:
    """Refuse early what could not be written after minutes of work.

    Raises:
        InputError: `path` is a folder or a device, or its folder does not exist.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError("is a folder", Place(str(path)), help="give the name of a file in it")
    if target.exists() and not target.is_file():
        raise InputError("is not a regular file", Place(str(path)), help="give the name of a file")
    if not target.parent.is_dir():
        raise InputError(f"the folder '{target.parent}' does not exist", Place(str(path)), help="create it first")


@contextmanager
def write_atomically(path: str | Path) -> Generator[BinaryIO]:
    """A stream whose contents replace `path` when the body ends well, and leave no trace when it does not.

    Raises:
        InputError: the file cannot be written.
    """
    check_output(path)
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
        _synchronise_folder(target.parent)
    except OSError as problem:
        raise InputError(f"cannot write the file: {problem.strerror}", Place(str(path))) from None
    finally:
        temporary.unlink(missing_ok=True)


def _synchronise_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
