"""Statistics of a run as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pimc.report.quantities import byte_size, count, percent, with_unit
from pimc.report.terminal import Terminal

_TOP_NODES = 8


def print_run(terminal: Terminal, stats: Mapping[str, Any]) -> None:
    """Time, energy, distance to the floors; then units and the costliest graph nodes."""
    terminal.facts("", summary_rows(stats))
    terminal.line()
    _print_units(terminal, stats)
    if stats["nodes"]:
        terminal.line()
        _print_nodes(terminal, stats)


def summary_rows(stats: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and value of what matters most."""
    yield "cycles", count(stats["cycles"])
    yield "time", with_unit(stats["time_s"], "s")
    yield from _per_token(stats)
    yield "energy", with_unit(stats["energy_j"], "J")
    yield "power", with_unit(stats["power_w"], "W")
    bound = stats["bound"]
    for key, name in (("peak_floor_s", "peak floor"), ("row_cycled_floor_s", "row-cycled floor")):
        floor = bound[key]
        distance = f"   (time is {stats['time_s'] / floor:.2f} x)" if floor else ""
        yield name, with_unit(floor, "s") + distance
    yield from ((f"{space} traffic", byte_size(size)) for space, size in stats["bytes_by_space"].items() if size)


def _per_token(stats: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    time_s = stats.get("time_per_token_s")
    if time_s:
        yield "tokens/s", f"{1 / time_s:,.0f}"
        yield "energy per token", with_unit(stats["energy_j"] * time_s / stats["time_s"], "J")


def _print_units(terminal: Terminal, stats: Mapping[str, Any]) -> None:
    energy, utilization = stats["energy_by_unit_j"], stats["utilization_by_unit"]
    rows = [
        (
            unit,
            percent(utilization.get(unit)),
            with_unit(energy.get(unit), "J"),
            percent(energy[unit] / stats["energy_j"]) if unit in energy and stats["energy_j"] else "-",
        )
        for unit in sorted({*energy, *utilization}, key=lambda unit: (-energy.get(unit, 0.0), unit))
    ]
    terminal.table("", ("unit", "busy", "energy", "share"), rows, right=("busy", "energy", "share"))


def _print_nodes(terminal: Terminal, stats: Mapping[str, Any]) -> None:
    nodes = sorted(stats["nodes"], key=lambda node: -node["cycles"])
    rows = [
        (
            node["node"],
            count(node["cycles"]),
            percent(node["cycles"] / stats["cycles"]) if stats["cycles"] else "-",
            with_unit(node["energy_j"], "J"),
        )
        for node in nodes[:_TOP_NODES]
    ]
    shown = f"the {len(rows)} costliest of {len(nodes)}" if len(nodes) > len(rows) else "all"
    columns = (f"graph node ({shown})", "cycles", "share", "energy")
    terminal.table("", columns, rows, right=("cycles", "share", "energy"))
