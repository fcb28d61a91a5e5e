"""Cores of digital CIM arrays: their description, time and energy of tiles, their text, what the verifier knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import isa
from pimc.simulator import Simulator

GOLDEN = Path(__file__).parent / "golden" / "arrays.pimasm"
HEAD = """
.machine "dcim-titanus"
.symbols
.register n, r0, low=0, high=2047
.region gains, sb, address=0, size=16, role=constants
.region work, sb, address=16, size=4000000, role=cache
.text
.entry run, n
"""


@pytest.fixture(scope="module")
def titanus() -> isa.Machine:
    return isa.load_machine("dcim-titanus")


@pytest.fixture(scope="module")
def core(titanus: isa.Machine) -> isa.DigitalCim:
    assert titanus.digital_cim is not None
    return titanus.digital_cim


@pytest.mark.parametrize(
    ("machine", "area_mm2", "macros", "buffers_mm2"),
    [("dcim-titanus", 83.32, 864, 4.064 * 0.29410083), ("dcim-titanus-opt7b", 2090.02, 24576, 65 * 0.29410083)],
)
def test_areas_are_the_published_ones(machine: str, area_mm2: float, macros: int, buffers_mm2: float) -> None:
    loaded = isa.load_machine(machine)
    core = loaded.digital_cim
    assert core is not None
    assert loaded.shared_buffer.area_mm2 is not None
    assert sum(core.macros(name) for name in isa.DIGITAL_CIM_MATRICES) == macros
    assert core.area_mm2 + loaded.shared_buffer.area_mm2 == pytest.approx(area_mm2, abs=0.005)
    assert core.scale_buffer.area_mm2 + loaded.shared_buffer.area_mm2 == pytest.approx(buffers_mm2)


def test_energy_of_a_tile_is_units_cycles_power(core: isa.DigitalCim) -> None:
    """N * p * [dynamic * activity + leakage] * 5 ns in the authors' accounting; without leakage otherwise."""
    published = core.published()
    macros = 24 * 3 * 9 * 23.65 * 5
    accumulators = 768 * 2 * 5 * 1.4399
    assert core.energies_pj("dmvm", "query") == pytest.approx({"arrays": macros, "accumulators": accumulators})
    leaking = accumulators + 768 * 2 * 5 * 0.0715092
    assert published.energies_pj("dmvm", "query") == pytest.approx({"arrays": macros, "accumulators": leaking})
    dot = 12 * 3 * 5 * (2.864 * 1024 / 4096 + 1.3381)
    assert published.energies_pj("ddot", "1024") == pytest.approx({"engines": dot})
    assert published.energies_pj("dnorm", "dnorm") == pytest.approx({"norm": 48 * 189 * 5 * (0.0388803 + 0.0824012)})
    assert core.energies_pj("dprog", "query") == {}
    assert core.leakages_mw()["engines"] == pytest.approx(24 * 1.3381)
    assert set(published.leakages_mw().values()) == {0.0}


def test_a_tile_occupies_its_unit_a_cycle_longer_than_it_works(core: isa.DigitalCim) -> None:
    cycles = {"dmvm": 10, "ddot": 4, "dsoftmax": 47, "dnorm": 190, "drelu": 3, "dprune": 3, "dquant": 4, "ddequant": 3}
    for mnemonic, expected in cycles.items():
        assert core.duration(mnemonic, mnemonic, 1, 1) == (expected, expected)
        assert core.published().duration(mnemonic, mnemonic, 1, 3) == (3 * expected, 3 * expected)


def test_off_chip_time_is_left_out_of_the_published_accounting(titanus: isa.Machine) -> None:
    memory = titanus.off_chip
    assert memory is not None
    assert memory.duration("ldnz", "ldnz", 92, 564) == (38, 38)  # 51,888 bytes at 1,374.389 a cycle
    assert memory.published().duration("ldnz", "ldnz", 92, 564) == (1, 1)
    assert memory.energies_pj("ldnz", "ldnz") == {"off_chip": pytest.approx(26556.9841 / 64)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digital_cim: {clock_ns: 4.0}", "digital_cim.clock_ns and clock_ns differ"),
        ("digital_cim: {matrices: {gate: [1, 1]}}", "a core holds the matrices query, key, value, output, up, down"),
        ("digital_cim: {macro: {cycle: 3}}", "digital_cim.macro.cycle: unknown key; did you mean 'cycles'?"),
        ("off_chip: {bytes_per_cycle: 0.0}", "off_chip.bytes_per_cycle: input should be greater than 0"),
        ("sequencer: {queue_depth: -1}", "sequencer.queue_depth: input should be greater than or equal to 0"),
    ],
)
def test_a_bad_description_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.yaml").write_text(f"extends: dcim-titanus\nname: x\n{text}\n")
    with pytest.raises(isa.MachineError) as caught:
        isa.load_machine(str(tmp_path / "m.yaml"))
    assert message in caught.value.message


def test_the_golden_text_has_every_row_comes_back_and_runs(titanus: isa.Machine) -> None:
    text = GOLDEN.read_text()
    program = isa.assemble(text)
    rows = {row.mnemonic for row in isa.INSTRUCTIONS if row.unit in _units()}
    assert rows <= {each.mnemonic for each in program.code}
    assert isa.assemble(isa.disassemble(program)).code == program.code
    assert isa.decode_instructions(isa.encode_instructions(program.code)) is not None
    assert isa.check_program(program, titanus) == []
    simulator = Simulator(titanus)
    simulator.load(replace(program, machine_sha256=titanus.sha256))
    for length in (0, 1, 255):
        assert simulator.run("decode", {"kv_length": length}).cycles > 190


def _units() -> set[str]:
    return {unit.name for unit in isa.UNITS if unit.component in ("digital_cim", "off_chip")}


RECORD = "channels=96, split=48, bits=4, bits2=4"  # 12 to 72 bytes


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dprog query, input=768, src=[90], count=1", "'input' can be 768; allowed: at most 767"),
        ("dprog query, input=0, src=[90], count=769", "'count' can be 769; allowed: at most 768"),
        ("dmvm [90], [90], [90], query, inputs=769, outputs=1", "'inputs' can be 769; allowed: at most 768"),
        ("dmvm [90], [90], [90], up, inputs=1, outputs=3073", "'outputs' can be 3073; allowed: at most 3072"),
        ("dmvm [8], [90], [90], up, inputs=1, outputs=2", "it can write words 8 to 9; region 'gains'"),
        ("dmvm [90], [4194300], [90], up, inputs=9, outputs=2", "'a' can reach words 4194300 to 4194308; allowed"),
        ("ddot [90], [90], [90], width=1, heads=13", "'heads' can be 13; allowed: at most 12"),
        ("ddot [90], [90], [90], width=257, heads=1", "'tiles' of 256 elements may not cover 'width'"),
        ("ddot [4194300], [90], [90], width=1, heads=3, dst_head=3", "'dst' can reach words 4194300 to 4194306"),
        ("dsoftmax [90], [90], width=r0, heads=1", "'tiles' of 16 elements may not cover 'width'"),
        ("dnorm [90], [90], [90], width=900, first=0, count=769", "'count' can be 769; allowed: at most 768"),
        ("dnorm [90], [90], [90], width=99, first=r0, count=9", "'first + count' can be 2056; allowed: at most 99"),
        ("ddot [90], [90], [90], width=1, heads=1, group=2", "'group' is 2; allowed: at most 1"),
        ("dnorm [90], [90], [90], width=9, first=0, count=9, group=3", "'group' is 3; allowed: at most 1"),
        ("drelu [90], [90], count=257", "'count' can be 257; allowed: at most 256"),
        ("dprune [90], [90], threshold=1, count=33", "'count' can be 33; allowed: at most 32"),
        ("dquant [90], [90], [90], count=8, steps=0", "'steps' is 0; allowed: 1 to 255"),
        (f"stnz 0, [90], {RECORD}, rows=1, slot=71, bytes=9", "'slot' is 71; a record may have 72 bytes"),
        (f"ldnz [90], 67108800, {RECORD}, rows=r0, slot=72, bytes=9", "'addr' can reach off-chip bytes 67108800 to"),
        ("ldnz [90], 0, channels=9, split=10, bits=4, bits2=4, rows=1, slot=72, bytes=9", "'split' is 10; allowed: 0"),
        ("ldnz [90], 0, channels=9, split=9, bits=9, bits2=4, rows=1, slot=72, bytes=9", "'bits' is 9; allowed: 1"),
        (
            f"stnz 0, [90], {RECORD}, rows=1, slot=72, bytes=9, content=values",
            "'bits' is 4; values have 8 bits",
        ),
        ("kprune [90], [90], threshold=1, len=1", "the machine 'dcim-titanus' has no extension K"),
    ],
)
def test_what_the_verifier_refuses(titanus: isa.Machine, line: str, message: str) -> None:
    found = [str(each) for each in isa.check_program(isa.assemble(HEAD + line + "\nhalt\n"), titanus)]
    assert any(message in each for each in found), found


def test_what_the_verifier_refuses_the_simulator_refuses(titanus: isa.Machine) -> None:
    lines: list[tuple[str, Any]] = [
        ("dprog query, input=768, src=[90], count=1", "'input' is 768"),
        ("dmvm [90], [90], [90], query, inputs=769, outputs=1", "'inputs' is 769"),
        ("ddot [90], [90], [90], width=257, heads=1", "1 tiles of 256 elements"),
        ("dnorm [90], [90], [90], width=99, first=91, count=9", "'first \\+ count' is 100"),
        ("dnorm [90], [90], [90], width=99, first=9, count=9, group=2", "'group' is 2"),
        ("ddot [90], [90], [90], width=7, heads=1, group=2", "'group' is 2"),
        ("stnz 0, [90], " + RECORD + ", rows=1, slot=71, bytes=9", "'slot' is 71"),
        ("stnz 0, [90], " + RECORD + ", rows=1, slot=72, bytes=9, content=values", "values of 4 bits"),
        ("stoff 67108864, [90], bytes=1", "'addr' covers bytes 67108864 to 67108864 of the off-chip memory"),
    ]
    for line, message in lines:
        program = replace(isa.assemble(HEAD + line + "\nhalt\n"), machine_sha256=titanus.sha256)
        simulator = Simulator(titanus)
        simulator.load(program)
        with pytest.raises(isa.ProgramError, match=message):
            simulator.run("run", {"n": 0})


def test_a_machine_without_the_unit_is_named(machine: isa.Machine) -> None:
    program = isa.assemble(HEAD.replace("dcim-titanus", "gddr6-aim") + "drelu [90], [90], count=2\nhalt\n")
    found = [str(each) for each in isa.check_program(program, machine)]
    assert any("the machine 'gddr6-aim' has no extension X" in each for each in found), found
