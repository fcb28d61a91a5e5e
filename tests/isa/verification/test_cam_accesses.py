"""What the program verifier knows about extension C: reach of keys, values and candidates, sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

import isa

HEAD = """
.machine "cam-camformer"
.symbols
.register length, r0, low=0, high=2047
.region work, sb, address=0, size=4096, role=inputs
.text
.entry run, length
"""
GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="module")
def searching() -> isa.Machine:
    return isa.load_machine("cam-camformer")


def _check(lines: str, machine: isa.Machine) -> list[str]:
    return [str(each) for each in isa.check_program(isa.assemble(HEAD + lines + "\nhalt\n"), machine)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cstore key=16000+r0, a=[0], dims=64", "'key' can reach keys 16000 to 18047; allowed: 0 to 16383"),
        ("cstore key=0, a=[0], dims=65", "'dims' is 65; allowed: 1 to 64"),
        ("cvalue value=16384, a=[0], elements=64", "'value' can reach values 16384 to 16384; allowed: 0 to 16383"),
        ("cvalue value=0, a=[0], elements=0", "'elements' is 0; allowed: 1 to 64"),
        ("cquery a=[262100], dims=64", "'a' can reach words 262100 to 262163; allowed: 0 to 262143"),
        ("cprog key=16380, count=5", "'key' can reach keys 16380 to 16384; allowed: 0 to 16383"),
        ("sub r1, r0, 5\ncprog key=0, count=r1", "'count' can be -5"),
        ("csearch entry=63, index=0, row=0, top=2, bits=6", "'entry' can reach candidates 63 to 64; allowed: 0 to 63"),
        ("csearch entry=0, index=0, row=0, top=3, bits=6", "'top' is 3; allowed: 1 to 2"),
        ("csearch entry=0, index=0, row=0, top=2, bits=7", "'bits' is 7; allowed: 1 to 6"),
        ("cfetch entry=0, value=0, row=127, half=0, top=2", "'row' can reach value buffer rows 127 to 128; allowed"),
        ("cfetch entry=0, value=0, row=0, half=r0, top=2", "'half' can be 0 to 2047; allowed: 0 to 1"),
        ("cmerge count=65, keep=32", "'count' can reach candidates 0 to 64; allowed: 0 to 63"),
        ("ctop count=64, keep=33", "'keep' is 33; allowed: 1 to 32"),
        ("cexp len=33, dims=64, bits=6, scale=1", "'len' is 33; allowed: 1 to 32"),
        ("cmac dst=[262100], rows=32, len=64, half=0", "'dst' can reach words 262100 to 262163"),
        ("cmac dst=[0], rows=33, len=64, half=0", "'rows' is 33; allowed: 1 to 32"),
    ],
)
def test_what_breaks_the_rules_is_found(line: str, message: str, searching: isa.Machine) -> None:
    found = _check(line, searching)[0]
    assert message in found


@pytest.mark.parametrize(
    "line",
    [
        "cprog key=16368, count=r0",  # an array of 16 rows takes no more keys
        "cprog key=0, count=0",
        "remu r1, r0, 2\ncdiv len=32, half=r1",
        "remu r1, r0, 63\ncsearch entry=r1, index=r0, row=r1, top=2, bits=6",
    ],
)
def test_what_keeps_the_rules_is_accepted(line: str, searching: isa.Machine) -> None:
    assert _check(line, searching) == []


def test_the_golden_program_keeps_the_rules(searching: isa.Machine) -> None:
    assert isa.check_program(isa.assemble((GOLDEN / "search.pimasm").read_text()), searching) == []


def test_a_machine_without_a_cam_refuses_its_instructions(machine: isa.Machine) -> None:
    (found,) = _check("cdiv len=1, half=0", machine)
    assert "the machine 'gddr6-aim' has no extension C" in found


def test_keys_and_values_are_named_only_where_a_cam_has_them(machine: isa.Machine, searching: isa.Machine) -> None:
    text = HEAD.replace(".text", ".symbol keys, key, address=0, size=16385\n.text") + "halt\n"
    program = isa.assemble(text)
    assert isa.section_errors(program, searching) == ["symbol 'keys' ends at 16384 of space key, which has 0 to 16383"]
    assert isa.section_errors(program, machine) == [
        "symbol 'keys' lies in space key, which the machine 'gddr6-aim' lacks"
    ]
