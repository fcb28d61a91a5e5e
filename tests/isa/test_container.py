from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from program_strategies import programs

import isa
from isa import tensor_file
from isa.tensor_file import parse_tensors, write_tensors


def _program() -> isa.Program:
    weights = np.arange(2 * 2 * 64, dtype=np.uint16).reshape(2, 2, 64)
    return isa.Program(
        machine="gddr6-aim",
        machine_sha256="0" * 64,
        numerics="machine",
        code=(isa.instruction("li", 1, 5), isa.instruction("halt")),
        entries={"decode": isa.Entry("decode", 0, ("kv_length",))},
        registers=(isa.RegisterSymbol("kv_length", 0, 0, 127, "tokens in the cache"),),
        limits=(isa.RegisterLimit(("kv_length",), 128),),
        regions=(isa.Region("weights", "bank", 0, 4, "weights"), isa.Region("gains", "sb", 0, 3, "constants")),
        symbols=(isa.Symbol("x", "sb", 0, 3, {"kind": "tokens", "words": 1, "words_per_token": 1}),),
        ports=(isa.Port("x", "input", "float32", (1, "past + 1"), "tokens", "x"),),
        segments=(isa.Segment("gains", np.array([1, 2, 3], np.uint32)), isa.Segment("weights", weights)),
        sources=(isa.Source("node", ("onnx",)),),
        debug=(0, 0),
        metadata={"max_context": 128},
    )


@pytest.fixture
def stored(pim_path: Path) -> bytes:
    isa.save_program(_program(), pim_path)
    return pim_path.read_bytes()


def _header(data: bytes) -> dict[str, Any]:
    return dict(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]))


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(program=programs())
def test_a_program_survives_its_file(program: isa.Program, pim_path: Path) -> None:
    isa.save_program(program, pim_path)
    loaded = isa.load_program(pim_path)
    assert repr(loaded.code) == repr(program.code)
    for name in ("machine", "numerics", "entries", "registers", "limits", "regions", "symbols", "ports", "sources"):
        assert getattr(loaded, name) == getattr(program, name)
    assert loaded.debug == program.debug
    assert loaded.metadata == program.metadata
    for one, other in zip(loaded.segments, program.segments, strict=True):
        assert one.region == other.region
        assert one.data.dtype == other.data.dtype
        np.testing.assert_array_equal(one.data.view(np.uint8), other.data.view(np.uint8))


def test_the_file_is_a_canonical_safetensors_file(stored: bytes) -> None:
    length = int.from_bytes(stored[:8], "little")
    header = _header(stored)
    assert (8 + length) % 64 == 0
    assert list(header) == sorted(header)
    assert list(header["__metadata__"]) == ["pimc"]
    tensors = sorted((each["data_offsets"], name) for name, each in header.items() if name != "__metadata__")
    assert [name for _, name in tensors if not name.startswith("padding")] == [
        "code", "debug", "segments.gains", "segments.weights",
    ]  # fmt: skip
    assert header["segments.weights"]["dtype"] == "BF16"
    end = 0
    for (begin, stop), name in tensors:
        assert begin == end
        assert begin % 64 == 0 or name.startswith("padding")
        end = stop
    assert end == len(stored) - 8 - length


def test_equal_programs_give_equal_files(stored: bytes, tmp_path: Path) -> None:
    isa.save_program(isa.load_program(tmp_path / "t.pim"), tmp_path / "again.pim")
    assert (tmp_path / "again.pim").read_bytes() == stored


def test_data_are_read_only_views_of_the_file(stored: bytes, pim_path: Path) -> None:
    data = isa.load_program(pim_path).segments[1].data
    assert data.base is not None
    assert not data.flags.writeable
    assert data.ctypes.data % 64 == 0


def test_strided_arrays_are_stored_the_same(stored: bytes, tmp_path: Path) -> None:
    program = _program()
    gains, weights = (segment.data for segment in program.segments)
    strided = np.zeros((4, 2, 64), np.uint16)
    strided[::2] = weights
    segments = (isa.Segment("gains", gains), isa.Segment("weights", strided[::2]))
    fields = {**program.__dict__, "segments": segments}
    isa.save_program(isa.Program(**fields), tmp_path / "other.pim")
    assert (tmp_path / "other.pim").read_bytes() == stored


def test_every_flipped_byte_is_noticed(stored: bytes, pim_path: Path) -> None:
    for position in range(len(stored)):
        broken = bytearray(stored)
        broken[position] ^= 1 << position % 8
        pim_path.write_bytes(broken)
        with pytest.raises(isa.EncodingError) as caught:
            isa.load_program(pim_path)
        assert str(caught.value).startswith(f"{pim_path}: error: ")


def test_every_length_is_noticed(stored: bytes, pim_path: Path) -> None:
    for length in [*range(0, len(stored), 7), len(stored) - 1]:
        pim_path.write_bytes(stored[:length])
        with pytest.raises(isa.EncodingError):
            isa.load_program(pim_path)
    pim_path.write_bytes(stored + b"\0")
    with pytest.raises(isa.EncodingError, match="the header describes"):
        isa.load_program(pim_path)


def test_unverified_segments_are_loaded_without_hashing(stored: bytes, pim_path: Path) -> None:
    pim_path.write_bytes(stored[:-1] + bytes([stored[-1] ^ 1]))
    with pytest.raises(isa.EncodingError, match=r"tensor 'segments\.weights': the data do not have the sha256"):
        isa.load_program(pim_path)
    assert len(isa.load_program(pim_path, verify_hashes=False).segments) == 2


def _rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Write the file again with changed facts or arrays, all hashes in order."""
    parsed = parse_tensors(memoryview(path.read_bytes()))
    facts, arrays = dict(parsed.facts), dict(parsed.arrays)
    change(facts, arrays)
    with path.open("wb") as stream:
        write_tensors(stream, facts, arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, a: f.update(format_version=1), "format version 1; this version of pimc reads 2"),
        (lambda f, a: f.pop("ports"), "program: 'ports' is missing"),
        (lambda f, a: f.update(extra=1), "program: unknown member 'extra'"),
        (lambda f, a: f.update(machine=3), "program.machine is not a text"),
        (lambda f, a: f["regions"][0].update(size=1.5), "program.regions[0].size is not an integer"),
        (lambda f, a: f["regions"][0].update(size=True), "program.regions[0].size is not an integer"),
        (lambda f, a: f["entries"].append(f["entries"][0]), "two entries are called 'decode'"),
        (lambda f, a: f["sources"].append([]), "program.sources[1] is not a list of names"),
        (lambda f, a: f["ports"][0].update(shape=[None]), "the shape of a port holds integers and texts"),
        (lambda f, a: f.update(symbols={}), "program.symbols is not a list"),
        (lambda f, a: f.update(metadata=[]), "program.metadata is not an object"),
        (lambda f, a: f["segments"].reverse(), "the tensors are code, debug, segments.gains, segments.weights"),
        (lambda f, a: a.update(code=a["code"].ravel()), "tensor 'code' is uint32 [16], expected uint32 [n, 8]"),
        (lambda f, a: a.update(debug=a["debug"].view(np.float32)), "tensor 'debug' is float32 [2]"),
        (lambda f, a: a.update(code=a["code"] + 255), "instruction 0 (byte 0x0): 0x07 is no opcode"),
    ],
)
def test_contradictions_are_refused_even_with_right_hashes(
    stored: bytes, pim_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None], message: str
) -> None:
    _rewrite(pim_path, change)
    with pytest.raises(isa.EncodingError) as caught:
        isa.load_program(pim_path)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda f, a: f["entries"][0].update(address=2), "entry 'decode': instruction 2 does not exist"),
        (lambda f, a: f["regions"][0].update(space="tape"), "region 'weights': space 'tape' is not one of sb, bank"),
        (lambda f, a: f["regions"][0].update(role="x"), "region 'weights': role 'x' is not one of weights, cache,"),
        (lambda f, a: f["regions"][1].update(size=4), "segment 'gains': uint32 [3], expected uint32 [4]"),
        (lambda f, a: f["regions"][0].update(size=5), "segment 'weights': uint16 [2, 2, 64], expected uint16 [chann"),
        (lambda f, a: f["regions"].append({**f["regions"][0], "name": "w"}), "regions 'weights' and 'w' overlap"),
        (lambda f, a: f["regions"].append({**f["regions"][1], "address": 9}), "two regions are called 'gains'"),
        (lambda f, a: f["symbols"][0].update(name="r1"), "'r1' is not a name for one of the symbols"),
        (lambda f, a: f["symbols"][0].update(size=-1), "symbol 'x': address and size must not be negative"),
        (lambda f, a: f["ports"][0].update(symbol="y"), "port 'x': unknown symbol 'y'"),
        (lambda f, a: f["ports"][0].update(kind="y"), "port 'x': kind 'y' is not one of tokens, token_rows,"),
        (lambda f, a: f["ports"][0].update(direction="up"), "port 'x': direction 'up' is not one of input, output"),
        (lambda f, a: f["registers"][0].update(low=200), "register symbol 'kv_length': the range 200 to 127 is empty"),
        (lambda f, a: f["registers"][0].update(register=32), "register symbol 'kv_length': r32 does not exist"),
        (lambda f, a: f["limits"][0].update(registers=["x"]), "limit of x: unknown register symbol 'x'"),
        (lambda f, a: f["entries"][0].update(registers=["x"]), "entry 'decode': unknown register symbol 'x'"),
        (lambda f, a: f.update(numerics="int8"), "numerics 'int8' is not one of machine, fp32"),
        (lambda f, a: a.update(debug=a["debug"] + 1), "a debug line names a source outside 0 to 0"),
        (lambda f, a: a.update(debug=a["debug"][:1]), "1 debug lines for 2 instructions"),
    ],
)
def test_a_malformed_program_is_refused(
    stored: bytes, pim_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None], note: str
) -> None:
    _rewrite(pim_path, change)
    with pytest.raises(isa.EncodingError) as caught:
        isa.load_program(pim_path)
    assert caught.value.message == "the program is not well formed"
    assert note in "\n".join(caught.value.notes)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, "the file has no 'pimc' metadata"),
        ({"__metadata__": {"pimc": "[]"}}, "the metadata is not a JSON object"),
        ({"__metadata__": {"pimc": "{"}}, "the metadata is not JSON"),
        ({"__metadata__": {"pimc": "{}"}}, "the metadata have no 'header_sha256'"),
        ({"__metadata__": {"pimc": '{"header_sha256":"' + "0" * 64 + '"}'}}, "the header does not have the sha256"),
        ({"__metadata__": {"pimc": '{"a":1,"a":2}'}}, "a key is given twice"),
        ({"__metadata__": {"pimc": '{"a":NaN}'}}, "NaN is no JSON"),
        ({"__metadata__": {"pimc": "[" * 100_000}}, "the metadata is not JSON"),
    ],
)
def test_foreign_headers_are_refused(pim_path: Path, header: dict[str, Any], message: str) -> None:
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    pim_path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(isa.EncodingError, match=message.replace("(", r"\(")):
        isa.load_program(pim_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"dtype": "I8", "shape": [1], "data_offsets": [0, 1]}, "a dtype out of BF16, F32, U32, U8"),
        ({"dtype": "U8", "shape": [-1], "data_offsets": [0, 1]}, "shape and offsets are not lists of sizes"),
        ({"dtype": "U8", "shape": [1 << 60], "data_offsets": [0, 1]}, "shape and offsets are not lists of sizes"),
        ({"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}, "shape and offsets are not lists of sizes"),
        ({"dtype": "U32", "shape": [2], "data_offsets": [0, 7]}, r"offsets \[0, 7\] do not fit U32 \[2\]"),
        ({"dtype": "U8", "shape": [2], "data_offsets": [64, 66]}, "does not lie where it must"),
        ([], "a dtype out of"),
    ],
)
def test_bad_tensor_rows_are_refused(pim_path: Path, monkeypatch: pytest.MonkeyPatch, row: Any, message: str) -> None:
    monkeypatch.setattr(tensor_file, "_row", lambda tensor: row)
    with pim_path.open("wb") as stream:
        write_tensors(stream, {}, {"a": np.zeros(2, np.uint8)})
    with pytest.raises(isa.EncodingError, match=message):
        parse_tensors(memoryview(pim_path.read_bytes()))


def test_a_failed_write_leaves_the_old_file(stored: bytes, pim_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(isa.InputError, match="cannot write the file: No space left on device"):
        isa.save_program(_program(), pim_path)
    assert pim_path.read_bytes() == stored
    assert list(pim_path.parent.iterdir()) == [pim_path]


def test_a_new_file_has_the_usual_permissions(pim_path: Path) -> None:
    before = os.umask(0o027)
    try:
        isa.save_program(_program(), pim_path)
    finally:
        os.umask(before)
    assert pim_path.stat().st_mode & 0o777 == 0o640


def test_a_malformed_program_is_not_written(pim_path: Path) -> None:
    program = isa.Program(**{**_program().__dict__, "debug": (7, 7)})
    with pytest.raises(isa.ProgramError) as caught:
        isa.save_program(program, pim_path)
    assert caught.value.notes == ("a debug line names a source outside 0 to 0",)
    assert not pim_path.exists()


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(isa.InputError, match="cannot read the file: No such file or directory"):
        isa.load_program(tmp_path / "missing.pim")
    with pytest.raises(isa.InputError, match="cannot read the file: Is a directory"):
        isa.load_program(tmp_path)
