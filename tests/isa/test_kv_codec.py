"""The codec of a machine: its description, its costs, and regions that hold codes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isa


@pytest.fixture
def described(tmp_path: Path) -> Any:
    def load(text: str) -> isa.Machine:
        (tmp_path / "m.yaml").write_text("extends: gddr6-aim\nname: x\n" + text)
        return isa.load_machine(str(tmp_path / "m.yaml"))

    return load


def test_energies_and_area_are_those_of_the_published_units(machine: isa.Machine) -> None:
    """Units of Titanus take 32 values: power in mW x cycles x 5 ns; 16 of each for 512 lanes."""
    codec = machine.kv_codec
    assert codec is not None
    assert codec.prune_energy_pj == pytest.approx(0.1605 * 2 * 5 / 32, rel=0.01)
    assert codec.quantise_energy_pj == pytest.approx(44.64 * 3 * 5 / 32)
    assert codec.dequantise_energy_pj == pytest.approx(1.3315 * 2 * 5 / 32, rel=0.001)
    assert codec.leakage_mw == pytest.approx(16 * (0.0541 + 7.150 + 0.1725), rel=1e-4)
    assert codec.area_mm2 == pytest.approx(16 * (1408 + 190080 + 4197) * 1e-6)


def test_every_row_of_the_codec_has_an_energy(machine: isa.Machine) -> None:
    assert machine.kv_codec is not None
    for row in isa.INSTRUCTIONS:
        if row.unit == "codec":
            assert machine.kv_codec.energies_pj(row.mnemonic, "")["kv_codec"] > 0
    assert machine.kv_codec.energies_pj("kselect", "") == {"kv_codec": pytest.approx(8 * 0.05)}


def test_a_machine_may_have_no_codec(described: Any) -> None:
    bare = described("kv_codec: null\n")
    assert bare.extensions == ("I", "B")
    with pytest.raises(isa.MachineError, match=r"the machine 'x' has no KV codec \(extension K\)"):
        isa.codec_cycles(bare, "kquant", 1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kv_codec: {lanes: 0}", "kv_codec.lanes: input should be greater than or equal to 1"),
        ("kv_codec: {bank_decode: [8, 3]}", "kv_codec.bank_decode.1: input should be 8, 4 or 2"),
        ("kv_codec: {bank_decode: [4, 4]}", "kv_codec.bank_decode: a width is named twice"),
        ("kv_codec: {lane: 3}", "kv_codec.lane: unknown key; did you mean 'lanes'?"),
        ("near_bank: {mac_gb_column: equal}", "kv_codec.bank_decode needs mac_gb_column: free"),
    ],
)
def test_a_bad_description_is_refused(described: Any, text: str, message: str) -> None:
    with pytest.raises(isa.MachineError) as caught:
        described(text + "\n")
    assert message in caught.value.message


def test_banks_that_multiply_no_codes_may_tie_their_columns(described: Any) -> None:
    tied = described("near_bank: {mac_gb_column: equal}\nkv_codec: {bank_decode: []}\n")
    assert tied.extensions == ("I", "B", "K")


@pytest.mark.parametrize(("bits", "beats"), [(8, 2), (4, 4), (2, 8)])
def test_beats_of_a_column(machine: isa.Machine, bits: int, beats: int) -> None:
    assert isa.beats_per_column(machine, bits) == beats


def test_columns_that_beats_touch() -> None:
    assert isa.beat_ranges(4, 3, 6, 2, 8) == [(0, 3), (2, 3)]
    assert isa.beat_ranges(8, 0, 8, 3, 0) == [(0, 1)] * 3
    assert isa.beat_ranges(8, 0, 0, 3, 8) == []


def test_bytes_of_records() -> None:
    assert isa.record_bytes(96, 48, 4, 3) == (12, 12 + 12 + 42)
    assert isa.record_bytes(9, 9, 3, 8) == (2, 2 + 2 + 4)


def coded(numerics: str, dtype: type, **region: Any) -> isa.Program:
    facts = {"name": "codes", "space": "bank", "address": 0, "size": 2, "role": "cache", "element": "code"} | region
    made = isa.Region(**facts)
    return isa.Program(
        machine="gddr6-aim",
        machine_sha256="0" * 64,
        numerics=numerics,
        code=(isa.instruction("halt"),),
        entries={"decode": isa.Entry("decode", 0, ())},
        regions=(made,),
        segments=(isa.Segment("codes", np.zeros((32, 16, 32), dtype)),) if made.space == "bank" else (),
    )


@pytest.mark.parametrize("numerics", ["machine", "fp32"])
def test_codes_have_sixteen_bits_in_every_numerics(numerics: str, machine: isa.Machine) -> None:
    assert isa.section_errors(coded(numerics, np.uint16), machine) == []
    (wrong,) = isa.section_errors(coded(numerics, np.float32), machine)
    assert wrong == "segment 'codes': float32 [32, 16, 32], expected uint16 [channels, banks, 2 columns * lanes]"


def test_only_banks_hold_codes(machine: isa.Machine) -> None:
    (wrong,) = isa.section_errors(coded("fp32", np.uint16, space="sb"), machine)
    assert wrong == "region 'codes': only regions of the banks hold codes"
    (wrong,) = isa.section_errors(coded("machine", np.uint16, element="bits"), machine)
    assert wrong == "region 'codes': element 'bits' is not one of number, code"


def test_the_element_of_a_region_is_stored(pim_path: Path) -> None:
    for element in ("number", "code"):
        made = replace(coded("machine", np.uint16, element=element), segments=())
        isa.save_program(made, pim_path)
        assert isa.load_program(pim_path).regions == made.regions
        text = isa.disassemble(made)
        assert ("element=code" in text) == (element == "code")
        assert isa.assemble(text).regions == made.regions


def test_the_manual_tells_of_codes() -> None:
    section = isa.manual("kmac")
    assert "kmac ch=channels, addr=[address], [beat=n+r], [gb=[address]], beats=n+r" in section
    assert "Opcode 0x89, unit channel" in section
    assert "## Extension K: KV codec" in isa.manual()
