from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import isa
from isa.formula import parse_formula
from isa.near_bank import Timing


@pytest.fixture
def described(tmp_path: Path) -> Any:
    def load(text: str) -> isa.Machine:
        path = tmp_path / "m.yaml"
        path.write_text(text)
        try:
            return isa.load_machine(path)
        except isa.MachineError as problem:
            problem.message = problem.message.replace(f"{tmp_path}/", "")
            raise

    return load


def _numbers(data: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _numbers(value, (*path, key))
    elif isinstance(data, int | float) and not isinstance(data, bool):
        yield ".".join(path)


@pytest.mark.parametrize("name", isa.machine_names())
def test_every_number_of_a_bundled_machine_has_a_source(name: str) -> None:
    machine = isa.load_machine(name)
    facts = machine.model_dump(exclude={"sources"}, exclude_none=True, exclude_unset=True)
    unsourced = [
        path
        for path in _numbers(facts)
        if not any(path == source or path.startswith(f"{source}.") for source in machine.sources)
    ]
    assert unsourced == []


@pytest.mark.parametrize("name", isa.machine_names())
def test_the_file_of_a_bundled_machine_has_its_name(name: str) -> None:
    assert isa.load_machine(name).name == name


def test_the_default_machine_is_the_published_device(machine: isa.Machine) -> None:
    device = machine.near_bank
    assert device is not None
    assert machine.extensions == ("I", "B", "K")
    assert (device.channels, device.banks, device.columns_per_bank, device.column_bytes) == (32, 16, 1 << 20, 32)
    assert device.all_channels == 0xFFFFFFFF
    assert machine.shared_buffer.capacity_words == 1 << 20
    assert device.timing.nREFI * machine.clock_ns == 1900
    assert len(device.spacing_rules) == 104


@pytest.mark.parametrize(
    ("preceding", "following", "cycles"),
    [
        ("RD", "WR", 50 + 2 + 3 - 6 + 1),
        ("RDMAC16", "WRGB", 0 + 2 + 3 - 1 + 1),
        ("WR", "MAC16", 19),
        ("ACT16", "MAC16", 56),
        ("PREA", "ACT16", 32),
    ],
)
def test_spacing_formulas_are_worked_out(machine: isa.Machine, preceding: str, following: str, cycles: int) -> None:
    assert machine.near_bank is not None
    found = [
        rule.cycles
        for rule in machine.near_bank.spacings
        if (rule.scope, rule.preceding, rule.following) == ("channel", preceding, following)
    ]
    assert max(found) == cycles


def test_a_machine_cannot_be_changed(machine: isa.Machine) -> None:
    with pytest.raises(ValidationError):
        machine.clock_ns = 1.0  # type: ignore[misc]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(isa.MachineError) as caught:
        isa.load_machine("gdr6-aim")
    assert str(caught.value).splitlines()[0] == "error: unknown machine 'gdr6-aim'"
    assert "gddr6-aim" in caught.value.notes[0]
    assert caught.value.help == "did you mean 'gddr6-aim'?"


def test_all_errors_come_at_once_with_their_lines(described: Any) -> None:
    text = """\
extends: gddr6-aim
name: x
clock_ns: fast
near_bank:
  channels: 33
  timing:
    nCL: no
    nRCDRDMACS: 1
  energy: {read_pj: -1}
  spacing_rules:
    - {scope: bank, preceding: [WR], following: [MAC16], latency: nCWL + nBLX}
    - {scope: chip, preceding: [WR], following: [RD]}
"""
    with pytest.raises(isa.MachineError) as caught:
        described(text)
    assert caught.value.message.splitlines() == [
        "the machine description is not valid",
        "  m.yaml:3: clock_ns: input should be a valid number",
        "  m.yaml:5: near_bank.channels: input should be less than or equal to 32",
        "  m.yaml:7: near_bank.timing.nCL: input should be a valid integer",
        "  m.yaml:8: near_bank.timing.nRCDRDMACS: unknown key; did you mean 'nRCDRDMAC'?",
        "  m.yaml:9: near_bank.energy.read_pj: input should be greater than or equal to 0",
        "  m.yaml:11: near_bank.spacing_rules.0.latency: 'nBLX' in 'nCWL + nBLX' is not a timing parameter",
        "  m.yaml:12: near_bank.spacing_rules.1.latency: this key is missing",
        "  m.yaml:12: near_bank.spacing_rules.1.scope: input should be 'channel', 'bankgroup' or 'bank'",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: gddr6-aim\n", "name: a machine that extends another one needs its own name"),
        ("extends: [a]\nname: x\n", "extends: a name or a file is expected"),
        ("extends: m.yaml\nname: x\n", "'extends' goes round in a circle or is too deep"),
        ("- a\n", "a machine description is a mapping"),
        ("extends: gddr6-aim\nname: X\n", "string should match pattern"),
        ("extends: gddr6-aim\nname: x\nsources: {near_bank.lane: read}\n", "sources.near_bank.lane: no such path"),
        ("extends: gddr6-aim\nname: x\nvector_unit: {special_passes: {sinus: 2}}\n", "'sinus' is neither"),
        ("name: x\n", "sequencer: this key is missing"),
    ],
)
def test_a_bad_description_is_refused(described: Any, text: str, message: str) -> None:
    with pytest.raises(isa.MachineError) as caught:
        described(text)
    assert message in caught.value.message


def test_a_machine_may_refine_another(described: Any, machine: isa.Machine) -> None:
    small = described("extends: gddr6-aim\nname: small\nnear_bank: {channels: 8, timing: {nCL: 51}}\n")
    assert small.near_bank.channels == 8
    assert small.near_bank.timing.nCL == 51
    assert small.near_bank.timing.nRP == machine.near_bank.timing.nRP  # type: ignore[union-attr]
    assert small.sha256 != machine.sha256


def test_a_machine_may_drop_a_component(described: Any) -> None:
    bare = described("extends: gddr6-aim\nname: bare\nnear_bank: null\n")
    assert bare.extensions == ("I",)
    assert not any(path.startswith("near_bank") for path in bare.sources)


def test_the_hash_depends_on_the_facts_alone(described: Any, machine: isa.Machine) -> None:
    renamed = "extends: gddr6-aim\nname: gddr6-aim\n"
    assert described(renamed + "description: other words\n").sha256 == machine.sha256
    assert described(renamed + "clock_ns: 0.4\n").sha256 != machine.sha256


def test_the_schema_is_json_schema() -> None:
    schema = isa.machine_schema()
    assert schema["additionalProperties"] is False
    assert {"name", "clock_ns", "near_bank", "extends", "sources"} <= schema["properties"].keys()


@pytest.mark.parametrize("text", ["", "nCL +", "nCL nBL", "nCL * 2", "2 ** 3", "__import__", "nCL + -3", "(nCL)"])
def test_only_sums_are_formulas(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a|empty"):
        parse_formula(text, Timing.model_fields)


def test_a_formula_adds_and_subtracts(machine: isa.Machine) -> None:
    assert machine.near_bank is not None
    formula = parse_formula(" nCL-nBL +3- 1", Timing.model_fields)
    assert formula.value(machine.near_bank.timing) == 50 - 2 + 3 - 1
    assert formula.names == {"nCL", "nBL"}
