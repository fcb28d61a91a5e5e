"""Reading text and arrays, writing files that are complete or absent."""

from __future__ import annotations

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
