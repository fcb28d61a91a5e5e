"""Reading text and arrays, writing files that are complete or absent."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from isa import InputError
from pimc.arrays import read_arrays, write_arrays
from pimc.files import check_output, read_text, write_atomically, write_text


def test_arrays_come_back(tmp_path: Path) -> None:
    arrays = {"a": np.arange(3), "past.0/key": np.ones((1, 2), np.float32)}
    write_arrays(tmp_path / "x.npz", arrays)
    found = read_arrays(tmp_path / "x.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_an_array_may_have_any_name_and_order(tmp_path: Path) -> None:
    arrays = {
        "file": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "allow_pickle": np.array(1, np.float32),
        "": np.zeros((0, 2)),
    }
    write_arrays(tmp_path / "x.npz", arrays)
    found = read_arrays(tmp_path / "x.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    with np.load(tmp_path / "x.npz") as plain:
        np.testing.assert_array_equal(plain["file"], arrays["file"])


def _member(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


@pytest.mark.parametrize(
    "content",
    [
        _member("{'descr':'<i8','fortran_order':False,'shape':" + "(" * 300),
        _member("{'descr':'<i8','fortran_order':False,'shape':("),
        _member("{'descr':'<i8','fortran_order':False,'shape':(4611686018427387904,)}"),
        _member("{'descr':'<i8','fortran_order':False,'shape':(-1,-2)}", bytes(16)),
        _member("{'descr':'<i8','fortran_order':False,'shape':(2,)}", bytes(8)),
        _member("{'descr':'<q9','fortran_order':False,'shape':(2,)}", bytes(8)),
        _member("{1: 2, 'a': 3}"),
        _member("7"),
        b"\x93NUMPY\x09\x00",
        b"hello",
        b"",
    ],
)
def test_members_that_are_no_arrays_are_refused(tmp_path: Path, content: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(InputError, match="not an npz file of plain arrays"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_changed_byte_anywhere_is_read_or_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as archive:
        archive.writestr("a.npy", _member("{'descr':'<i8','fortran_order':False,'shape':(9,)}", bytes(range(72))))
    whole = (tmp_path / "x.npz").read_bytes()
    refused = 0
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0x55
        (tmp_path / "y.npz").write_bytes(changed)
        try:
            read_arrays(tmp_path / "y.npz")
        except InputError:
            refused += 1
    assert refused > len(whole) // 3


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_text(path, "old")

    def interrupted() -> None:
        with write_atomically(path) as stream:
            stream.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_outputs_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        check_output(tmp_path)
    assert str(refused.value) == f"{tmp_path}: error: is a folder\nhelp: give the name of a file in it"
    with pytest.raises(InputError, match="is not a regular file"):
        check_output("/dev/null")
    with pytest.raises(InputError, match="does not exist"):
        check_output(tmp_path / "no" / "x.pim")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no archive"])
def test_what_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not an npz file of plain arrays"):
        read_arrays(path)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="not an npz file of plain arrays"):
        read_arrays(path)


def test_a_single_array_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    with pytest.raises(InputError, match="one array without a name"):
        read_arrays(tmp_path / "x.npy")
    with pytest.raises(InputError, match="cannot read the file: No such file"):
        read_arrays(tmp_path / "y.npz")


def test_text_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pimasm"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError) as refused:
        read_text(path)
    assert str(refused.value) == f"{path}: error: the file is not text in UTF-8"
