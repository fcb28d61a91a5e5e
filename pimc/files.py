"""Text in, and files out that appear complete or not at all."""

from __future__ import annotations

from pathlib import Path

from isa import InputError, Place, check_output, write_atomically

__all__ = ["check_output", "read_text", "write_atomically", "write_text"]


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text with LF line ends, complete or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    with write_atomically(path) as stream:
        stream.write(text.encode())


def read_text(path: str | Path) -> str:
    """The UTF-8 text of a file.

    Raises:
        InputError: the file cannot be read or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as problem:
        raise InputError(f"cannot read the file: {problem.strerror}", Place(str(path))) from None
    except UnicodeDecodeError:
        raise InputError("the file is not text in UTF-8", Place(str(path))) from None
