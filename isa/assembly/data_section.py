"""Initial contents of regions in assembly text: inline words, or a part of a data file."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from isa.assembly.arguments import Arguments
from isa.assembly.data_files import open_data_file
from isa.assembly.syntax import Line
from isa.errors import AssemblyError
from isa.program import Segment
from isa.strict_json import as_list
from isa.tensor_file import array_sha256

DTYPES = {"bf16": "<u2", "f32": "<f4", "u32": "<u4"}
"""Element types of segments; bf16 is held as uint16."""

_WORD = re.compile(r"0x[0-9A-Fa-f]+\Z|-?[0-9]+\Z")


@dataclass
class SegmentDraft:
    """A `.segment` directive and the `.words` below it.

    Attributes:
        line: The directive.
        region: Name of the region.
        dtype: Key of `DTYPES`.
        shape: Lengths of the axes.
        file: Data file, or `None` when the words stand inline.
        offset: First byte in the data file.
        sha256: Hash of the data in the file.
        bits: Inline elements, as unsigned integers of the element's width.
    """

    line: Line
    region: str
    dtype: str
    shape: tuple[int, ...]
    file: str | None = None
    offset: int = 0
    sha256: str = ""
    bits: list[int] = field(default_factory=list[int])

    @staticmethod
    def read(line: Line, arguments: Arguments) -> SegmentDraft:
        """Read the directive."""
        region = arguments.name("the name of a region")
        dtype = arguments.next(f"one of {', '.join(DTYPES)}")
        if dtype.text not in DTYPES:
            raise line.error(f"'{dtype.text}' is not one of {', '.join(DTYPES)}", dtype.column)
        written = arguments.named("shape")
        shape = _shape(arguments.json(written))
        if shape is None:
            raise line.error("'shape=' is a list of sizes", written.column)
        draft = SegmentDraft(line, region, dtype.text, shape)
        if arguments.has("file"):
            draft.file = arguments.text("file")
            draft.offset = arguments.integer("offset")
            draft.sha256 = arguments.text("sha256")
        return draft

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return np.dtype(DTYPES[self.dtype]).itemsize

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for length in self.shape:
            size *= length
        return size

    def take_words(self, line: Line, arguments: Arguments) -> None:
        """Read a `.words` directive."""
        if self.file is not None:
            raise line.error(f"segment '{self.region}' stands in a data file", 1)
        while arguments.left:
            argument = arguments.next("a word")
            bits = _bits(argument.text, self.dtype)
            if bits is None:
                hint = "write its bits as an integer, or a decimal number with a point"
                raise line.error(f"'{argument.text}' is no {self.dtype} element", argument.column, hint)
            self.bits.append(bits)


def _shape(value: Any) -> tuple[int, ...] | None:
    lengths = as_list(value) or []
    if not 1 <= len(lengths) <= 8 or not all(type(length) is int and 0 <= length < 1 << 40 for length in lengths):
        return None
    return tuple(lengths)


def _bits(text: str, dtype: str) -> int | None:
    """Bits of an element: an integer as it stands, a decimal number as binary32."""
    width = np.dtype(DTYPES[dtype]).itemsize * 8
    if _WORD.match(text):
        value = int(text, 16) if text.startswith("0x") else int(text)
        return value % (1 << width) if -(1 << width - 1) <= value < 1 << width else None
    try:
        return int(np.float32(float(text)).view(np.uint32)) if width == 32 else None
    except ValueError:
        return None


def read_segment(
    draft: SegmentDraft, folder: Path, allowed: Path | None, errors: list[AssemblyError]
) -> Segment | None:
    """The contents of a segment, from a data file in `folder` or `allowed`; what is wrong goes to `errors`."""
    if draft.file is not None:
        try:
            with open_data_file(folder, draft.file, allowed) as stream:
                return _from_file(draft, stream, errors)
        except ValueError as problem:
            message = f"the data file '{draft.file}' is refused: {problem}"
            errors.append(draft.line.error(message, 1, "move it beside the text, or name it with --data"))
        except OSError as problem:
            reason = "a symbolic link is not followed" if problem.errno == errno.ELOOP else problem.strerror
            errors.append(draft.line.error(f"cannot read the data file '{draft.file}': {reason}", 1))
        return None
    if len(draft.bits) != draft.size:
        message = f"segment '{draft.region}' has {len(draft.bits)} words, its shape asks for {draft.size}"
        errors.append(draft.line.error(message, 1))
        return None
    bits = np.array(draft.bits, dtype=f"<u{draft.itemsize}")
    return Segment(draft.region, bits.view(DTYPES[draft.dtype]).reshape(draft.shape))


def _from_file(draft: SegmentDraft, stream: BinaryIO, errors: list[AssemblyError]) -> Segment | None:
    end = draft.offset + draft.size * draft.itemsize
    length = os.fstat(stream.fileno()).st_size
    if draft.offset < 0 or end > length:
        message = f"segment '{draft.region}' needs bytes {draft.offset} to {end} of '{draft.file}', which has {length}"
        errors.append(draft.line.error(message, 1))
        return None
    data: NDArray[Any] = np.zeros(draft.shape, DTYPES[draft.dtype])
    if draft.size:
        data = np.memmap(stream, DTYPES[draft.dtype], "r", draft.offset, draft.shape)
    if array_sha256(data) != draft.sha256:
        message = f"the data of segment '{draft.region}' in '{draft.file}' do not have the sha256 that the text states"
        errors.append(draft.line.error(message, 1))
        return None
    return Segment(draft.region, data)
