"""Programs of several models: ports of one entry, links between entries, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import isa
from isa.program_facts import port_facts
from isa.structure import structure_errors

WHOLE = {"kind": "whole", "strides": [1]}


@pytest.fixture
def program(machine: isa.Machine) -> isa.Program:
    """Two entries; `decode` reads what `encode` has left."""
    return isa.Program(
        machine=machine.name,
        machine_sha256=machine.sha256,
        numerics="fp32",
        code=(isa.instruction("halt"),),
        entries={"encode": isa.Entry("encode", 0, ()), "decode": isa.Entry("decode", 0, ())},
        symbols=(isa.Symbol("encode.h", "sb", 64, 16, WHOLE), isa.Symbol("decode.h", "sb", 64, 16, WHOLE)),
        ports=(
            isa.Port("h", "output", "float32", (16,), "whole", "encode.h", "encode"),
            isa.Port("h", "input", "float32", (16,), "whole", "decode.h", "decode", "encode/h"),
        ),
        metadata={"chunk": 4, "entries": {"decode": {"chunk": 1}}},
    )


def test_a_part_has_the_ports_and_facts_of_its_entry(program: isa.Program) -> None:
    part = program.part("decode")
    assert program.stages == ("encode", "decode")
    assert [port.direction for port in part.ports] == ["input"]
    assert (part.metadata["chunk"], program.part("encode").metadata["chunk"]) == (1, 4)
    assert list(part.entries) == ["decode"]
    assert not structure_errors(program)


def test_a_program_of_one_model_has_no_stages(program: isa.Program) -> None:
    shared = replace(program, ports=(isa.Port("h", "output", "float32", (16,), "whole", "encode.h"),))
    assert shared.stages == ()
    assert shared.part("decode").ports == shared.ports
    assert set(port_facts(shared.ports[0])) == {"name", "direction", "dtype", "shape", "kind", "symbol"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entry": "prefill"}, "unknown entry 'prefill'"),
        ({"filled_by": "encode/x"}, "cannot be filled by 'encode/x'"),
        ({"direction": "output"}, "cannot be filled by 'encode/h'"),
    ],
)
def test_wrong_links_are_refused(program: isa.Program, change: dict[str, Any], message: str) -> None:
    wrong = replace(program, ports=(program.ports[0], replace(program.ports[1], **change)))
    assert any(message in each for each in structure_errors(wrong))


def test_a_link_joins_one_place(program: isa.Program) -> None:
    apart = replace(program, symbols=(program.symbols[0], replace(program.symbols[1], address=96)))
    assert any("does not lie where 'encode/h' does" in each for each in structure_errors(apart))


def test_facts_of_entries_are_checked(program: isa.Program) -> None:
    wrong = replace(program, metadata={"entries": {"decode": {"chunk": 0}}})
    assert any("entry 'decode': metadata 'chunk'" in each for each in structure_errors(wrong))
