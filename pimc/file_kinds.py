"""What kind of file a user gave, by its first bytes: a mix-up is told before the file is read."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from isa import InputError, Place

_FIRST_BYTES = 4096


class FileKind(Enum):
    """Kinds of files that commands take."""

    MODEL = "an ONNX model"
    PROGRAM = "a program"
    ASSEMBLY = "assembly text"
    MACHINE = "a machine description"
    ARRAYS = "an npz file of arrays"


_COMMANDS = {
    (FileKind.MODEL, FileKind.PROGRAM): "compile it first: pimc compile {file}",
    (FileKind.ASSEMBLY, FileKind.PROGRAM): "assemble it first: pimc asm {file}",
    (FileKind.PROGRAM, FileKind.MODEL): "pimc run {file} runs it",
    (FileKind.PROGRAM, FileKind.ASSEMBLY): "pimc disasm {file} prints it as text",
    (FileKind.MODEL, FileKind.ASSEMBLY): "pimc compile {file} --emit asm prints its program",
    (FileKind.ASSEMBLY, FileKind.MODEL): "pimc asm {file} makes a program of it",
}


def kind_of(path: str | Path) -> FileKind | None:
    """The kind of an existing file; `None` when it cannot be read or its first bytes are of no known kind."""
    try:
        with Path(path).open("rb") as stream:
            start = stream.read(_FIRST_BYTES)
    except OSError:
        return None
    if start[8:9] == b"{" and b"__metadata__" in start:
        return FileKind.PROGRAM
    if start[:1] == b"\x08":  # field 1 of the protobuf message ModelProto: ir_version, a varint
        return FileKind.MODEL
    if start[:4] == b"PK\x03\x04":
        return FileKind.ARRAYS
    return _kind_of_text(Path(path).suffix.lower(), start)


def _kind_of_text(suffix: str, start: bytes) -> FileKind | None:
    lines = [line.strip() for line in start.split(b"\n")]
    code = [line for line in lines if line and not line.startswith(b";")]
    if suffix == ".pimasm" or (code and code[0].startswith(b".machine")):
        return FileKind.ASSEMBLY
    return FileKind.MACHINE if suffix in (".yaml", ".yml") else None


def check_kind(path: str | Path, wanted: FileKind) -> None:
    """Refuse a file that is surely of another kind; files of no known kind pass, their reader knows more.

    Raises:
        InputError: the file is something else, and the message says what to do with it.
    """
    found = kind_of(path)
    if found is None or found is wanted:
        return
    help = _COMMANDS.get((found, wanted))
    raise InputError(
        f"this is {found.value}, not {wanted.value}", Place(str(path)), help=help and help.format(file=path)
    )
