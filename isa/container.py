"""The `.pim` file: a program as a tensor file with `code`, `debug` and one tensor for each segment."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa.encoding import WORD_BYTES, decode_instructions, encode_instructions
from isa.errors import EncodingError, InputError, Place, ProgramError
from isa.output_files import write_atomically
from isa.program import Program, Segment
from isa.program_facts import program_facts, program_from_facts
from isa.structure import structure_errors
from isa.tensor_file import TensorFile, parse_tensors, write_tensors

_SEGMENT = "segments."


def save_program(program: Program, path: str | Path) -> None:
    """Write a `.pim` file; equal programs give equal bytes.

    The file appears under its name only when it is complete, and data are written without copying them.

    Raises:
        ProgramError: the sections of the program contradict each other.
        InputError: the file cannot be written.
    """
    errors = structure_errors(program)
    if errors:
        raise ProgramError("the program is not well formed", notes=errors)
    with write_atomically(path) as stream:
        write_tensors(stream, program_facts(program), dict(_arrays(program)))


def _arrays(program: Program) -> Iterator[tuple[str, NDArray[Any]]]:
    words = np.frombuffer(encode_instructions(program.code), dtype="<u4")
    yield "code", words.reshape(len(program.code), WORD_BYTES // 4)
    yield "debug", np.array(program.debug, dtype="<u4")
    for segment in program.segments:
        yield _SEGMENT + segment.region, segment.data


def load_program(path: str | Path, verify_hashes: bool = True) -> Program:
    """Read a `.pim` file; data are read-only views of a memory map of the file, which must not change meanwhile.

    Args:
        path: The file.
        verify_hashes: Whether to hash the segments too (about 1.4 GB/s); code, debug lines and header always are.

    Raises:
        InputError: the file cannot be read.
        EncodingError: the file is not what `save_program` writes.
    """
    tensors = _read(path)
    try:
        return _program(tensors, verify_hashes)
    except EncodingError as problem:
        raise _placed(problem, path) from None


@dataclass(frozen=True)
class SegmentPlace:
    """Where the data of a segment stand in a `.pim` file: first byte, and sha256 as the header states it."""

    offset: int
    sha256: str


def segment_places(path: str | Path) -> dict[str, SegmentPlace]:
    """The place of each segment of a `.pim` file, by region; nothing is hashed. Raises as `load_program` does."""
    tensors = _read(path)
    return {
        name.removeprefix(_SEGMENT): SegmentPlace(tensors.offsets[name], tensors.hashes[name])
        for name in tensors.arrays
        if name.startswith(_SEGMENT)
    }


def _placed(problem: EncodingError, path: str | Path) -> EncodingError:
    return EncodingError(problem.message, Place(str(path)), problem.notes, problem.help)


def _read(path: str | Path) -> TensorFile:
    try:
        return parse_tensors(_map(Path(path)))
    except OSError as problem:
        raise InputError(f"cannot read the file: {problem.strerror}", Place(str(path))) from None
    except EncodingError as problem:
        raise _placed(problem, path) from None


def _map(path: Path) -> memoryview:
    with path.open("rb") as stream:
        if os.fstat(stream.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def _program(tensors: TensorFile, verify_hashes: bool) -> Program:
    facts, segments = program_from_facts(tensors.facts)
    arrays = tensors.arrays
    expected = ["code", "debug", *(_SEGMENT + name for name in segments)]
    if list(arrays) != expected:
        raise EncodingError(f"the tensors are {', '.join(arrays)}; expected {', '.join(expected)}")
    tensors.verify(expected if verify_hashes else expected[:2])
    code, debug = arrays["code"], arrays["debug"]
    if code.dtype != np.uint32 or code.shape != (len(code), WORD_BYTES // 4):
        raise EncodingError(f"tensor 'code' is {code.dtype} {list(code.shape)}, expected uint32 [n, {WORD_BYTES // 4}]")
    if debug.dtype != np.uint32 or debug.ndim != 1:
        raise EncodingError(f"tensor 'debug' is {debug.dtype} {list(debug.shape)}, expected uint32 [n]")
    program = replace(
        facts,
        code=decode_instructions(code.tobytes()),
        debug=tuple(debug.tolist()),
        segments=tuple(Segment(name, arrays[_SEGMENT + name]) for name in segments),
    )
    errors = structure_errors(program)
    if errors:
        raise EncodingError("the program is not well formed", notes=errors)
    return program
