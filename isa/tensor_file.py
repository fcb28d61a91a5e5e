"""Canonical safetensors files: named arrays and one JSON value of facts, every byte accounted for.

Layout: 8 bytes header length, JSON header with sorted keys, padded with spaces so that data start at a multiple of 64
bytes, then the tensors in the given order, each at a multiple of 64 bytes; `padding.N` tensors fill the gaps. The
header's one metadata entry `pimc` holds the facts as JSON text, and in them the sha256 of every tensor and of the
header itself (computed with 64 zeros in its own place).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from isa.errors import EncodingError
from isa.strict_json import as_list, as_object, canonical_json, strict_json

ALIGNMENT = 64
_MAXIMUM_HEADER_BYTES = 1 << 28
_NO_HASH = "0" * 64
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_DTYPES = {"BF16": "<u2", "F32": "<f4", "U32": "<u4", "U8": "|u1"}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class Tensor:
    """One row of the header.

    Attributes:
        name: Name of the tensor.
        dtype: Element type as safetensors names it; `BF16` is held as uint16.
        shape: Lengths of the axes.
        begin: First byte, counted from the end of the header.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int

    @property
    def end(self) -> int:
        """First byte after the tensor."""
        size = np.dtype(_DTYPES[self.dtype]).itemsize
        for length in self.shape:
            size *= length
        return self.begin + size

    @property
    def is_padding(self) -> bool:
        """Whether it only fills a gap."""
        return self.name.startswith("padding.")


@dataclass(frozen=True)
class TensorFile:
    """A parsed file.

    Attributes:
        facts: The JSON value, without the hashes.
        arrays: Read-only views of the tensors, without padding.
        hashes: sha256 of each tensor as the header states it.
        offsets: First byte of each tensor in the file.
    """

    facts: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    hashes: dict[str, str]
    offsets: dict[str, int]

    def verify(self, names: Iterable[str]) -> None:
        """Hash the named tensors; raises `EncodingError` for the first that differs from the header."""
        for name in names:
            if array_sha256(self.arrays[name]) != self.hashes[name]:
                raise EncodingError(f"tensor '{name}': the data do not have the sha256 that the header states")


def write_tensors(stream: BinaryIO, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a file; equal facts and arrays give equal bytes. Contiguous arrays are not copied."""
    tensors = _layout([(name, _NAMES[array.dtype], array.shape) for name, array in arrays.items()])
    hashes = {name: array_sha256(array) for name, array in arrays.items()}
    stream.write(_header({**facts, "sha256": hashes}, tensors))
    for tensor in tensors:
        if tensor.is_padding:
            stream.write(bytes(tensor.end - tensor.begin))
        else:
            for chunk in _chunks(arrays[tensor.name]):
                stream.write(chunk)


def array_sha256(array: NDArray[Any]) -> str:
    """sha256 of the little-endian bytes of an array."""
    digest = hashlib.sha256()
    for chunk in _chunks(array):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(array: NDArray[Any]) -> Iterator[memoryview]:
    """The bytes of an array, little-endian, copied piece by piece only where it is not contiguous."""
    if array.size == 0:
        return
    for piece in [array] if array.flags.c_contiguous else array:
        stored = np.ascontiguousarray(piece, dtype=array.dtype.newbyteorder("<"))
        yield stored.data.cast("B")


def _layout(rows: Iterable[tuple[str, str, tuple[int, ...]]]) -> list[Tensor]:
    """Tensors in file order, with padding between them."""
    tensors: list[Tensor] = []
    end = 0
    for name, dtype, shape in rows:
        gap = -end % ALIGNMENT
        if gap:
            tensors.append(Tensor(f"padding.{len(tensors)}", "U8", (gap,), end))
        tensors.append(Tensor(name, dtype, shape, end + gap))
        end = tensors[-1].end
    return tensors


def _header(facts: Mapping[str, Any], tensors: Iterable[Tensor]) -> bytes:
    """Length and JSON header, with the header's own hash filled in."""
    rows: dict[str, Any] = {tensor.name: _row(tensor) for tensor in tensors}
    rows["__metadata__"] = {"pimc": canonical_json({**facts, "header_sha256": _NO_HASH})}
    header = canonical_json(rows).encode("ascii")
    header += b" " * (-(8 + len(header)) % ALIGNMENT)
    digest = hashlib.sha256(header).hexdigest()
    return len(header).to_bytes(8, "little") + header.replace(_own_hash(_NO_HASH), _own_hash(digest), 1)


def _row(tensor: Tensor) -> dict[str, Any]:
    return {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [tensor.begin, tensor.end]}


def _own_hash(digest: str) -> bytes:
    return f'\\"header_sha256\\":\\"{digest}\\"'.encode("ascii")


def parse_tensors(data: memoryview) -> TensorFile:
    """Read a file that lies in memory; nothing is copied, tensor hashes are not checked.

    Raises:
        EncodingError: anything but bytes that `write_tensors` makes (apart from the contents of tensors).
    """
    header = _header_bytes(data)
    rows = _json_object(header, "the header")
    metadata = as_object(rows.pop("__metadata__", None))
    if metadata is None or set(metadata) != {"pimc"}:
        raise EncodingError("the file has no 'pimc' metadata; it is not a .pim file")
    facts = _json_object(metadata["pimc"], "the metadata")
    _check_header_hash(header, facts.pop("header_sha256", None))
    hashes = as_object(facts.pop("sha256", None))
    tensors = _tensors(rows, len(data) - 8 - len(header))
    names = [tensor.name for tensor in tensors if not tensor.is_padding]
    if hashes is None or set(hashes) != set(names):
        raise EncodingError("the hashes in the metadata are not those of the tensors")
    arrays = {tensor.name: _view(data, 8 + len(header), tensor) for tensor in tensors}
    for name in arrays.keys() - set(names):
        if arrays.pop(name).any():
            raise EncodingError(f"tensor '{name}': padding that is not zero")
    return TensorFile(facts, arrays, hashes, {each.name: 8 + len(header) + each.begin for each in tensors})


def _header_bytes(data: memoryview) -> bytes:
    if len(data) < 8:
        raise EncodingError(f"{len(data)} bytes are too few for a .pim file")
    length = int.from_bytes(data[:8], "little")
    if length > _MAXIMUM_HEADER_BYTES or 8 + length > len(data):
        raise EncodingError(f"the header length {length} does not fit a file of {len(data)} bytes")
    if (8 + length) % ALIGNMENT:
        raise EncodingError(f"the header length {length} does not align the data to {ALIGNMENT} bytes")
    return bytes(data[8 : 8 + length])


def _json_object(text: Any, what: str) -> dict[str, Any]:
    try:
        value = as_object(strict_json(text)) if isinstance(text, str | bytes) else None
    except ValueError as problem:
        raise EncodingError(f"{what} is not JSON: {problem}") from None
    if value is None:
        raise EncodingError(f"{what} is not a JSON object")
    return value


def _check_header_hash(header: bytes, stated: Any) -> None:
    if not isinstance(stated, str) or not _HASH.match(stated):
        raise EncodingError("the metadata have no 'header_sha256'")
    cleared = header.replace(_own_hash(stated), _own_hash(_NO_HASH), 1)
    if hashlib.sha256(cleared).hexdigest() != stated:
        raise EncodingError("the header does not have the sha256 that it states")


def _tensors(rows: Mapping[str, Any], data_bytes: int) -> list[Tensor]:
    """The rows of the header, in file order, exactly as `_layout` places them."""
    found = sorted((_tensor(name, row) for name, row in rows.items()), key=lambda each: (each.begin, each.end))
    expected = _layout([(each.name, each.dtype, each.shape) for each in found if not each.is_padding])
    if found != expected:
        wrong = next((a for a, b in zip(found, expected, strict=False) if a != b), (found or expected)[-1])
        raise EncodingError(f"tensor '{wrong.name}' does not lie where it must (byte {wrong.begin} of the data)")
    end = found[-1].end if found else 0
    if end != data_bytes:
        raise EncodingError(f"the file holds {data_bytes} bytes of data, the header describes {end}")
    return found


def _tensor(name: str, row: Any) -> Tensor:
    members = as_object(row) or {}
    dtype = members.get("dtype")
    if set(members) != {"dtype", "shape", "data_offsets"} or dtype not in _DTYPES:
        raise EncodingError(f"tensor '{name}': a dtype out of {', '.join(_DTYPES)}, a shape and offsets are expected")
    shape, offsets = _sizes(members["shape"]), _sizes(members["data_offsets"])
    if shape is None or offsets is None or len(offsets) != 2:
        raise EncodingError(f"tensor '{name}': shape and offsets are not lists of sizes")
    tensor = Tensor(name, dtype, shape, offsets[0])
    if tensor.end != offsets[1]:
        raise EncodingError(f"tensor '{name}': offsets {list(offsets)} do not fit {dtype} {list(shape)}")
    return tensor


def _sizes(value: Any) -> tuple[int, ...] | None:
    items = as_list(value)
    if items is None or len(items) > 8 or not all(type(item) is int and 0 <= item < 1 << 48 for item in items):
        return None
    return tuple(items)


def _view(data: memoryview, start: int, tensor: Tensor) -> NDArray[Any]:
    view = np.frombuffer(data[start + tensor.begin : start + tensor.end], dtype=_DTYPES[tensor.dtype])
    return view.reshape(tensor.shape)
