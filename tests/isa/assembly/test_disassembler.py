from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from program_strategies import programs

import isa

GOLDEN = Path(__file__).parent.parent / "golden"


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], max_examples=80)
@given(program=programs())
def test_text_assembles_to_the_same_file(program: isa.Program, tmp_path: Path) -> None:
    isa.save_program(program, tmp_path / "a.pim")
    text = isa.disassemble(isa.load_program(tmp_path / "a.pim"))
    isa.save_program(isa.assemble(text), tmp_path / "b.pim")
    assert (tmp_path / "a.pim").read_bytes() == (tmp_path / "b.pim").read_bytes()


@pytest.mark.parametrize("name", ["flavour", "words", "codes", "search"])
def test_a_text_comes_out_as_it_was_written(name: str) -> None:
    text = (GOLDEN / f"{name}.pimasm").read_text()
    assert isa.disassemble(isa.assemble(text)) == text


def _large_program() -> isa.Program:
    data = np.random.default_rng(0).integers(0, 1 << 16, (32, 16, 64)).astype(np.uint16)
    return isa.Program(
        machine="gddr6-aim",
        machine_sha256="0" * 64,
        numerics="machine",
        code=(isa.instruction("halt"),),
        entries={"decode": isa.Entry("decode", 0, ())},
        regions=(isa.Region("weights", "bank", 0, 4, "weights"),),
        segments=(isa.Segment("weights", data),),
    )


def _again(text: Path, data_file: Path | None = None) -> bytes:
    target = text.with_name("again.pim")
    isa.save_program(isa.assemble(text.read_text(), str(text), data_file=data_file), target)
    return target.read_bytes()


def test_weights_stay_in_the_program_file(tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    stored, target = tmp_path / "programs" / "t.pim", tmp_path / "a.pimasm"
    isa.save_program(_large_program(), stored)
    isa.save_assembly(isa.load_program(stored), target, stored)
    assert 'file="programs/t.pim"' in target.read_text()
    assert target.stat().st_size < 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pimasm", "programs"]
    assert _again(target) == stored.read_bytes()


@pytest.mark.parametrize("is_link", [False, True])
def test_a_text_that_cannot_reach_the_program_file_brings_its_weights_along(tmp_path: Path, is_link: bool) -> None:
    (tmp_path / "text").mkdir()
    stored, target = tmp_path / "t.pim", tmp_path / "text" / "a.pimasm"
    isa.save_program(_large_program(), stored)
    named = stored
    if is_link:
        named = tmp_path / "text" / "t.pim"
        named.symlink_to(stored)
    isa.save_assembly(isa.load_program(named), target, named)
    assert 'file="a.pimasm.data"' in target.read_text()
    assert _again(target) == stored.read_bytes()


def test_a_file_elsewhere_is_read_when_the_user_names_it(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    stored, target = tmp_path / "t.pim", tmp_path / "text" / "a.pimasm"
    isa.save_program(_large_program(), stored)
    target.write_text(isa.disassemble(isa.load_program(stored), stored, text_folder=target.parent))
    assert 'file="../t.pim"' in target.read_text()
    with pytest.raises(isa.AssemblyError, match=r"'\.\./t\.pim' is refused: it does not lie in the folder of the text"):
        _again(target)
    with pytest.raises(isa.AssemblyError, match="is refused"):
        _again(target, tmp_path / "other.pim")
    assert _again(target, stored) == stored.read_bytes()


def test_a_program_without_a_file_brings_its_weights_along(tmp_path: Path) -> None:
    target = tmp_path / "a.pimasm"
    isa.save_assembly(_large_program(), target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pimasm", "a.pimasm.data"]
    again = isa.assemble(target.read_text(), base_folder=tmp_path)
    np.testing.assert_array_equal(again.segments[0].data, _large_program().segments[0].data)


def test_text_for_reading_says_what_it_leaves_out() -> None:
    assert "  .segment weights, bf16, shape=[32,16,64] ; 65536 bytes, not shown" in isa.disassemble(_large_program())


def test_one_entry_can_be_shown_with_its_encoding() -> None:
    program = isa.assemble((GOLDEN / "flavour.pimasm").read_text())
    lines = isa.disassemble(program, entry="prefill", encoding=True).splitlines()
    assert lines[:4] == ["", ".text", ".entry prefill", '  .loc 0 ; "layer"']
    assert lines[4].split(" ; ")[1] == f"9: {isa.encode_instructions(program.code[9:10]).hex()}"
    assert len(lines) == 6
    with pytest.raises(KeyError):
        isa.disassemble(program, entry="encode")


@pytest.mark.parametrize(
    ("address", "text"),
    [(0, "[0]"), (10, "[outer]"), (15, "[inner+1]"), (17, "[outer+7]"), (30, "[30]"), (29, "[outer+19]")],
)
def test_an_address_is_shown_with_the_nearest_symbol(address: int, text: str) -> None:
    symbols = (isa.Symbol("outer", "sb", 10, 20), isa.Symbol("inner", "sb", 14, 2), isa.Symbol("empty", "sb", 15, 0))
    style = isa.InstructionFormat(symbols)
    built = isa.instruction("vfill", dst=address, len=1)
    assert isa.format_instruction(built, style) == f"vfill dst={text}, len=1"


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (0, "0x0"),
        (1, "0"),
        (0b1101, "0,2-3"),
        (0xFFFFFFFF, "all"),
        (0x7FFFFFFF, "0-30"),
        (isa.Indexed(0, 5), "r5"),
        (isa.Indexed(3, 5), "0x3+r5"),
    ],
)
def test_channel_masks_are_shown_as_ranges(mask: int | isa.Indexed, text: str) -> None:
    built = isa.instruction("open", ch=mask, addr=0)
    assert isa.format_instruction(built, isa.InstructionFormat(channels=32)) == f"open ch={text}, addr=[0]"
