from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from program_strategies import programs

import isa

GOLDEN = Path(__file__).parent / "golden"


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], max_examples=80)
@given(program=programs())
def test_text_assembles_to_the_same_file(program: isa.Program, tmp_path: Path) -> None:
    isa.save_program(program, tmp_path / "a.pim")
    text = isa.disassemble(isa.load_program(tmp_path / "a.pim"))
    isa.save_program(isa.assemble(text), tmp_path / "b.pim")
    assert (tmp_path / "a.pim").read_bytes() == (tmp_path / "b.pim").read_bytes()


def test_a_text_comes_out_as_it_was_written() -> None:
    text = (GOLDEN / "flavour.pimasm").read_text()
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


def test_weights_stay_in_the_program_file(tmp_path: Path) -> None:
    isa.save_program(_large_program(), tmp_path / "t.pim")
    (tmp_path / "text").mkdir()
    target = tmp_path / "text" / "a.pimasm"
    isa.save_assembly(isa.load_program(tmp_path / "t.pim"), target, tmp_path / "t.pim")
    assert 'file="../t.pim"' in target.read_text()
    assert target.stat().st_size < 1000
    isa.save_program(isa.assemble(target.read_text(), str(target)), tmp_path / "again.pim")
    assert (tmp_path / "again.pim").read_bytes() == (tmp_path / "t.pim").read_bytes()


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
