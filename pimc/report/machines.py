"""Machines as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from isa import Machine
from pimc.report.quantities import byte_size, with_unit
from pimc.report.terminal import Terminal


def print_machines(terminal: Terminal, machines: Sequence[Machine]) -> None:
    """What machines are, then their extensions and clocks, and the memory and peak rate of those with banks."""
    terminal.table("", ("machine", "what it is"), [(machine.name, machine.description) for machine in machines])
    terminal.line()
    rows = [
        (
            machine.name,
            " ".join(machine.extensions),
            with_unit(1e9 / machine.clock_ns, "Hz"),
            byte_size(bank_bytes(machine)) if machine.near_bank else "-",
            with_unit(peak_operations_per_s(machine), "FLOP/s") if machine.near_bank else "-",
        )
        for machine in machines
    ]
    right = ("clock", "banks hold", "peak")
    terminal.table("", ("machine", "extensions", "clock", "banks hold", "peak"), rows, right)


def print_machine(terminal: Terminal, machine: Machine) -> None:
    """Every number of a machine with its source."""
    print_machines(terminal, [machine])
    facts = machine.model_dump(mode="json", exclude={"name", "description", "sources"}, exclude_none=True)
    rows = [(path, text, _source(machine.sources, path)) for path, text in _leaves(facts, "")]
    terminal.line()
    terminal.table("", ("property", "value", "source, below"), rows)
    terminal.line()
    terminal.table("", ("source", "where the numbers were read"), machine.sources.items())
    terminal.line()
    terminal.line(f"sha256 {machine.sha256}")


def bank_bytes(machine: Machine) -> int:
    """Bytes that all banks of the machine hold."""
    near_bank = machine.near_bank
    if near_bank is None:
        return 0
    return near_bank.channels * near_bank.banks * near_bank.columns_per_bank * near_bank.column_bytes


def peak_operations_per_s(machine: Machine) -> float:
    """Multiplications and additions a second when every bank multiplies a column each nCCDL cycles."""
    near_bank = machine.near_bank
    if near_bank is None:
        return 2 * machine.vector_unit.lanes / (machine.vector_unit.cycles_per_pass * machine.clock_ns * 1e-9)
    operations = 2 * near_bank.channels * near_bank.banks * near_bank.lanes
    return operations / (near_bank.timing.nCCDL * machine.clock_ns * 1e-9)


def _leaves(facts: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _leaves(cast("dict[str, Any]", value), f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            entries: list[Any] = value
            yield prefix + name, f"{len(entries)} entries (--json prints them)"
        else:
            yield prefix + name, str(value)


def _source(sources: Mapping[str, str], path: str) -> str:
    """The longest prefix of `path` that has a source."""
    parts = path.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in sources), "")
