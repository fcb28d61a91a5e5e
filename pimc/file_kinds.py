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
    """Refuse a file that is surely of another kind; files of no known kind pass where their reader knows more.

    Raises:
        InputError: the file is something else, and the message says what to do with it.
    """
    place = Place(str(path))
    if wanted is FileKind.PROGRAM and Path(path).is_dir():
        models = any(Path(path).glob("*.onnx"))
        remedy = _COMMANDS[(FileKind.MODEL, wanted)].format(file=path) if models else "give the name of a file in it"
        raise InputError(f"this is a folder, not {wanted.value}", place, help=remedy)
    found = kind_of(path)
    if found is None and wanted is FileKind.PROGRAM and _is_no_program(path):
        raise InputError("this is not a program", place, help="pimc compile and pimc asm write programs (.pim)")
    if found is None or found is wanted:
        return
    help = _COMMANDS.get((found, wanted))
    raise InputError(f"this is {found.value}, not {wanted.value}", place, help=help and help.format(file=path))


def _is_no_program(path: str | Path) -> bool:
    """Whether a file does not even begin as a program does: eight bytes, then a JSON object; a .pim may be cut."""
    try:
        with Path(path).open("rb") as stream:
            start = stream.read(9)
    except OSError:
        return False
    is_cut = len(start) < 9 and Path(path).suffix == ".pim"
    return start[8:] != b"{" and not is_cut


def check_trace(path: str | Path) -> None:
    """Refuse a file that is surely no trace.

    Raises:
        InputError: the file is of a known kind, or binary and not packed by gzip.
    """
    found = kind_of(path)
    if found is not None:
        help = f"pimc disasm --format aim-isr {path} writes one" if found is FileKind.PROGRAM else None
        raise InputError(f"this is {found.value}, not a trace", Place(str(path)), help=help)
    if Path(path).is_file():
        with Path(path).open("rb") as stream:
            start = stream.read(_FIRST_BYTES)
        if b"\0" in start and start[:2] != b"\x1f\x8b":
            raise InputError("this is a binary file, not a trace", Place(str(path)))
