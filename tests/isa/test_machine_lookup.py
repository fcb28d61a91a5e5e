from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import isa


def _program(machine: isa.Machine) -> isa.Program:
    return isa.Program(
        machine=machine.name,
        machine_sha256=machine.sha256,
        numerics="machine",
        code=(isa.instruction("halt"),),
        entries={"decode": isa.Entry("decode", 0, ())},
        metadata=isa.machine_metadata(machine),
    )


@pytest.fixture
def custom(tmp_path: Path) -> isa.Machine:
    path = tmp_path / "half.yaml"
    path.write_text("name: half\nextends: gddr6-aim\nnear_bank:\n  channels: 16\n")
    return isa.load_machine(path)


@pytest.mark.parametrize("name", isa.machine_names())
def test_a_bundled_machine_is_found_by_its_name(name: str) -> None:
    machine = isa.load_machine(name)
    assert isa.machine_metadata(machine) == {}
    assert isa.program_machine(_program(machine)) is machine


def test_a_program_carries_any_other_machine_through_file_and_text(custom: isa.Machine, tmp_path: Path) -> None:
    stored = tmp_path / "t.pim"
    isa.save_program(_program(custom), stored)
    loaded = isa.load_program(stored)
    again = isa.assemble(isa.disassemble(loaded))
    for program in (loaded, again):
        found = isa.program_machine(program)
        assert found.sha256 == custom.sha256
        assert found.model_copy(update={"sources": custom.sources}) == custom


def test_a_changed_machine_of_a_bundled_name_is_carried_too(custom: isa.Machine) -> None:
    changed = custom.model_copy(update={"name": "gddr6-aim"})
    assert isa.program_machine(_program(changed)).near_bank == custom.near_bank


def test_a_program_without_a_description_says_what_to_give(custom: isa.Machine) -> None:
    with pytest.raises(isa.MachineError) as caught:
        isa.program_machine(replace(_program(custom), metadata={}))
    assert str(caught.value).splitlines() == [
        "error: unknown machine 'half'",
        f"note: bundled machines: {', '.join(isa.machine_names())}",
        "note: the program carries no description of its machine",
        "help: give the file of its description: -m FILE.yaml",
    ]


def test_a_description_that_is_not_valid_is_refused(custom: isa.Machine) -> None:
    program = _program(custom)
    broken = {**program.metadata["machine_description"], "clock_ns": -1}
    with pytest.raises(isa.MachineError) as caught:
        isa.program_machine(replace(program, metadata={"machine_description": broken}))
    assert str(caught.value).splitlines()[:2] == [
        "error: the program's description of its machine is not valid",
        "note: clock_ns: Input should be greater than 0",
    ]
    with pytest.raises(isa.MachineError, match="is not valid"):
        isa.program_machine(replace(program, metadata={"machine_description": "half"}))


def test_a_component_refines_that_of_another_machine(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("extends: cam-camformer\nname: x\nnear_bank: {extends: gddr6-aim, channels: 2}\n")
    machine, base = isa.load_machine(path), isa.load_machine("gddr6-aim")
    assert machine.near_bank is not None
    assert base.near_bank is not None
    assert machine.near_bank == base.near_bank.model_copy(update={"channels": 2})
    assert machine.cam == isa.load_machine("cam-camformer").cam
    own = {path for path in machine.sources if path.startswith("near_bank")}
    assert own == {path for path in base.sources if path.startswith("near_bank")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "near_bank: {extends: cam-camformer}",
            "near_bank.extends: the machine 'cam-camformer' has no such component",
        ),
        ("near_bank: {extends: gddr6-am}", "unknown machine 'gddr6-am'"),
        ("near_bank: {extends: gddr6-aim, chanels: 2}", "m.yaml:3: near_bank.chanels: unknown key"),
    ],
)
def test_a_component_that_cannot_be_refined_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(f"extends: gddr6-aim\nname: x\n{text}\n")
    with pytest.raises(isa.MachineError) as caught:
        isa.load_machine(path)
    assert message.replace("m.yaml", str(path)) in str(caught.value)
