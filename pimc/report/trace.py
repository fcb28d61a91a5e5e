"""Costs of a foreign trace as tables."""

from __future__ import annotations

from pimc.report.quantities import count, percent, with_unit
from pimc.report.terminal import Terminal
from pimc.simulator import TraceStatistics


def print_trace(terminal: Terminal, found: TraceStatistics) -> None:
    """Cycles, time and energy; then commands, then energy by unit."""
    terminal.facts(
        "",
        [
            ("controller", found.controller),
            ("instructions", count(found.instructions)),
            ("cycles", count(found.cycles)),
            ("time", with_unit(found.cycles * found.clock_ns * 1e-9, "s")),
            ("energy", f"{with_unit(found.energy_j, 'J')} ({found.accounting} accounting)"),
        ],
    )
    terminal.line()
    commands = [(name, count(number)) for name, number in found.commands.items() if number]
    terminal.table("", ("command", "issued"), commands, right=("issued",))
    terminal.line()
    parts = sorted(found.energy_by_unit_j.items(), key=lambda part: -part[1])
    rows = [(unit, with_unit(joules, "J"), percent(joules / found.energy_j)) for unit, joules in parts if joules]
    terminal.table("", ("energy", "", "share"), rows, right=("", "share"))
