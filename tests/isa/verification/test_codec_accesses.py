"""What the program verifier knows about extension K: reach of packed codes and records, regions, initialisation."""

from __future__ import annotations

from pathlib import Path

import pytest

import isa

HEAD = """
.machine "gddr6-aim"
.symbols
.register length, r0, low=0, high=2047
.region weights, bank, address=0, size=64, role=weights
.region codes, bank, address=64, size=64, role=cache, element=code
.region gains, sb, address=0, size=16, role=constants
.region work, sb, address=80, size=90000, role=cache
.text
.entry run, length
wrgb ch=all, src=[80], cols=64
wracc ch=all, count=32
"""
GOLDEN = Path(__file__).parent.parent / "golden"
RECORD = "len=96, split=48, bits=4, bits2=4, row=96, expected=40"  # 12 to 72 bytes


def _check(lines: str, machine: isa.Machine, head: str = HEAD) -> list[str]:
    return [str(each) for each in isa.check_program(isa.assemble(head + lines + "\nhalt\n"), machine)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("kscale dst=[80], lo=[90], hi=[91], len=1, steps=0", "'steps' is 0; allowed: 1 to 255"),
        ("kscale dst=[8], lo=[90], hi=[91], len=1, steps=3", "it can write words 8 to 8; region 'gains': 0 to 15 has"),
        ("kpack dst=[80], a=[90], len=9, bits=17", "'bits' is 17; allowed: 1 to 16"),
        ("kpack dst=[1048570], a=[90], len=r0, bits=4", "'dst' can reach words 1048570 to 1048825; allowed: 0 to"),
        ("kunpack dst=[80], a=[1048570], len=49, bits=4", "'a' can reach words 1048570 to 1048576; allowed: 0 to"),
        (
            "kselect dst=[1048570], a=[90], mask=[90], count=r0, len=9",
            "'dst' can reach words 1048570 to 1050616; allowed: 0 to 1048575",
        ),
        ("kmac ch=1, addr=[64], beats=1, bits=3", "'bits' is 3; the banks of this machine hold codes of 8, 4, 2 bits"),
        ("kmac ch=1, addr=[0], beats=1, bits=4", "it works on codes, and region 'weights' holds numbers"),
        ("kstore ch=1, addr=[0], count=1, src=[80], bits=4", "it works on codes, and region 'weights' holds numbers"),
        ("mac ch=1, addr=[64], cols=1", "it works on numbers, and region 'codes' holds codes"),
        ("ldb ch=1, addr=[64], cols=1, dst=[80]", "it works on numbers, and region 'codes' holds codes"),
        ("kmac ch=1, addr=[64], beat=r0, beats=1, bits=2", "'addr' can reach bank columns 64 to 319, which lie in no"),
        ("kmac ch=1, addr=[64], beats=9, outs=9, bstride=64, bits=4", "'addr' can reach bank columns 64 to 194"),
        ("kstore ch=1, addr=[127], beat=7, count=17, src=[80], bits=2", "'addr' can reach bank columns 127 to 128"),
        ("kmac ch=1, addr=[64], gb=[60], beats=5, bits=2", "'gb' can reach global buffer columns 60 to 64; allowed"),
        ("kmac ch=1, addr=[64], acc=[31], beats=1, outs=2, bits=2", "'acc' can reach accumulators 31 to 32; allowed"),
        ("kstore ch=1, addr=[64], count=1, src=[80], bits=8, cdiv=0", "'cdiv' is 0; a channel number cannot be"),
        (f"kappend r1, [80], 0, [90], [90], {RECORD}, rows=1".replace("bits2=4", "bits2=9"), "'bits2' is 9; allowed"),
        (
            "kappend r1, dst=[80], at=0, a=[90], flags=[90], len=9, split=10, bits=4, bits2=4, row=9, expected=4",
            "'split'",
        ),
        (
            f"kappend r1, dst=[80], at=0, a=[90], flags=[90], {RECORD}".replace("expected=40", "expected=73"),
            "'expected' is 73; a record has 12 to 72 bytes",
        ),
        (
            f"kappend r1, dst=[1048500], at=r0, a=[90], flags=[90], {RECORD}, rows=4",
            "'dst' can reach words 1048500 to 1049083; allowed: 0 to 1048575",
        ),
        (
            f"kfetch r1, dst=[80], flags=[9000], src=[1048574], at=0, {RECORD}",
            "'src' can reach words 1048574 to 1048591; allowed: 0 to 1048575",
        ),
        (
            "kexpand dst=[80], a=[90], flags=[90], state=[90], table=[1048570], len=4, row=4, table_row=4, levels=0",
            "'levels' is 0; allowed: 1 to 255",
        ),
        (
            "kexpand dst=[80], a=[90], flags=[90], state=[90], table=[1048570], len=4, row=4, table_row=4, levels=2",
            "'table' can reach words 1048570 to 1048577; allowed: 0 to 1048575",
        ),
        (
            "klevel dst=[80], a=[90], mask=[90], state=[0], table=[99], len=4, row=4, table_row=4, steps=3, levels=2",
            "it can write words 0 to 15; region 'gains': 0 to 15 has the role constants",
        ),
        (
            "kunscale dst=[80], a=[200000], part=scale, len=1",
            "it reads word 200000 of the shared buffer, which nothing",
        ),
        (f"kfetch r1, dst=[80], flags=[9000], src=[200000], at=0, {RECORD}", "it reads word 200000 of the shared"),
        ("kselect dst=[80], a=[90], mask=[200000], count=1, len=1", "it reads word 200000 of the shared buffer"),
    ],
)
def test_what_breaks_a_rule_is_found(line: str, message: str, machine: isa.Machine) -> None:
    found = _check(line, machine)
    assert any(message in each for each in found), found


@pytest.mark.parametrize(
    "lines",
    [
        "kselect dst=[80], a=[90], mask=[90], count=r0, len=1, form=mask",
        "kmac ch=all, addr=[64], beat=r0, beats=1, outs=0, bits=2",
        "kstore ch=all, addr=[64], beat=64, count=16, src=[80], bits=4",
        "min r3, r0, 255\nkmac ch=all, addr=[64], beat=r3, beats=1, bits=4",
        "ldb ch=1, addr=[64], cols=2, dst=[80], form=word\nstb ch=1, addr=[64], cols=2, src=[80], form=word",
        "open ch=all, addr=[64]",
        f"kappend r1, dst=[80], at=0, a=[90], flags=[90], {RECORD}, rows=16\n"
        f"kfetch r2, dst=[2000], flags=[9000], src=[80], at=r1, {RECORD}, rows=16\nvfill dst=[80+r2], len=1",
    ],
)
def test_what_keeps_the_rules_is_accepted(lines: str, machine: isa.Machine) -> None:
    assert _check(lines, machine) == []


def test_the_byte_behind_records_is_known_from_their_number(machine: isa.Machine) -> None:
    """16 records of 12 to 72 bytes: from byte 8 on they end at 200 to 1160."""
    record = f"kappend r1, dst=[80], at=8, a=[90], flags=[90], {RECORD}, rows=16\n"
    low, high = 200, 1160
    assert _check(record + f"vfill dst=[{90080 - high}+r1], len=1", machine) == []
    assert _check(record + f"sub r2, r1, {low}\nvfill dst=[80+r2], len=1", machine) == []
    assert "can reach words -1 to" in _check(record + f"sub r2, r1, {low + 1}\nvfill dst=[0+r2], len=1", machine)[0]
    top = 1 << 20
    assert f"to {top}; allowed" in _check(record + f"vfill dst=[{top - high}+r1], len=1", machine)[0]


def test_the_golden_program_keeps_the_rules(machine: isa.Machine) -> None:
    assert isa.check_program(isa.assemble((GOLDEN / "codes.pimasm").read_text()), machine) == []


def test_a_machine_without_the_codec_refuses_its_instructions(machine: isa.Machine) -> None:
    bare = machine.model_copy(update={"kv_codec": None})
    assert bare.extensions == ("I", "B")
    found = _check("kunscale dst=[80], a=[90], part=scale, len=1", bare)
    assert "instruction 2: kunscale: the machine 'gddr6-aim' has no extension K" in found
