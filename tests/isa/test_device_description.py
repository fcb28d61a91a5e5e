"""Devices described command by command: organisation, wrong names, the power limit."""

import hashlib
import json
from pathlib import Path

import pytest

import isa

DEVICE = """
name: tiny
extends: hbm3-attacc
dram:
"""


def load(tmp_path: Path, text: str) -> isa.Machine:
    path = tmp_path / "m.yaml"
    path.write_text(DEVICE + text)
    return isa.load_machine(path)


def dram(name: str) -> isa.DramDevice:
    device = isa.load_machine(name).dram
    assert device is not None
    return device


@pytest.mark.parametrize(("name", "banks", "ranks"), [("hbm3-attacc", 64, 4), ("hbm2-pim", 32, 2)])
def test_nodes_are_counted_through_the_channel(name: str, banks: int, ranks: int) -> None:
    device = dram(name)
    assert (device.banks, device.nodes["rank"], device.span("rank")) == (banks, ranks, 16)
    assert device.span("channel") == banks
    assert device.level_names[0] == "channel"
    last = {level: count - 1 for level, count in device.levels.items()}
    assert device.bank_number(last) == banks - 1
    assert device.bank_number({"bankgroup": 2, "bank": 1}) == 9


def test_capacity_is_that_of_the_published_devices() -> None:
    def bytes_of(name: str) -> int:
        device = dram(name)
        return device.channels * device.banks * device.rows * device.columns_per_row * device.column_bytes

    assert bytes_of("hbm3-attacc") == 16 << 30
    assert bytes_of("hbm2-pim") == 64 * (512 << 20)


def test_bank_group_variant_differs_in_its_units_alone() -> None:
    bank, group = dram("hbm3-attacc"), dram("hbm3-attacc-bankgroup")
    assert group.units.level == "bankgroup"
    assert group.model_copy(update={"units": bank.units}) == bank


def test_power_limit_stretches_the_multiplications_alone() -> None:
    limited = dram("hbm3-attacc")
    free = limited.without_power_limit()
    changed = {name for name in limited.timing if limited.timing[name] != free.timing[name]}
    assert changed == {"nCCDAB", "nCCDSB"}
    assert [spacing.cycles for spacing in free.resolve(free.spacing_rules[1:2])] == [4]
    assert [spacing.cycles for spacing in limited.resolve(limited.spacing_rules[1:2])] == [6]


def test_devices_leave_the_hashes_of_other_machines_alone() -> None:
    machine = isa.load_machine("gddr6-aim")
    absent = {name for name in type(machine).model_fields if getattr(machine, name) is None}
    facts = machine.model_dump(mode="json", exclude={"description", "sources"} | absent)
    del facts["sequencer"]["control_cycles"]
    del facts["near_bank"]["computes"]
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    assert machine.sha256 == hashlib.sha256(text.encode()).hexdigest()
    hashes = {isa.load_machine(name).sha256 for name in isa.machine_names()}
    assert len(hashes) == len(isa.machine_names())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  levels: {shelf: 2}", "levels: up to 5 levels end with 'bank'"),
        ("  commands: {ACT: {bus: row, within: shelf}}", "commands.ACT: 'shelf' is not a level"),
        ("  commands: {ACT: {bus: row, opener: OPEN}}", "commands.ACT: 'OPEN' is not a command"),
        ("  commands: {X: {bus: row, needs: closed}}", "commands.X: a command that needs something names its closer"),
        (
            "  commands: {X: {bus: row, needs: open, closer: PRE}}",
            "commands.X: a command that needs an open row names its opener",
        ),
        (
            "  commands: {X: {bus: row, completion: nX + 1}}",
            "commands.X.completion: 'nX' in 'nX + 1' is not a timing parameter",
        ),
        (
            "  spacing_rules:\n    - {scope: floor, preceding: [ACT], following: [GO], latency: nRC}",
            "spacing_rules.0: 'floor' is not a level; spacing_rules.0: 'GO' is not a command",
        ),
        (
            "  additional_rules:\n    - {scope: bank, preceding: [ACT], following: [ACT], latency: nX}",
            "additional_rules.0: 'nX' in 'nX' is not a timing parameter",
        ),
        ("  units: {level: shelf}", "units.level: 'shelf' is not a level"),
        ("  timing_without_power_limit: {nX: 1}", "timing_without_power_limit: 'nX' is not a timing"),
    ],
)
def test_wrong_names_are_reported(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(isa.MachineError) as caught:
        load(tmp_path, text + "\n")
    assert f"dram: {message}" in caught.value.message


def test_command_of_a_mode_switch_is_known(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "name: tiny\nextends: hbm2-pim\ndram: {controller: {leave_all_bank: {command: SHUT, row: 1, banks: [0]}}}\n"
    )
    with pytest.raises(isa.MachineError, match="controller: 'SHUT' is not a command"):
        isa.load_machine(path)
