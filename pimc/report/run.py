"""Statistics of a run as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pimc.report.quantities import byte_size, count, percent, with_unit
from pimc.report.terminal import Terminal
from pimc.report.units import unit_rows

if TYPE_CHECKING:
    from pimc.simulator import Session

_TOP_NODES = 8


def print_run(terminal: Terminal, stats: Mapping[str, Any]) -> None:
    """Time, energy, distance to the floors; then units, energy by unit and the costliest graph nodes."""
    terminal.facts("", summary_rows(stats))
    busy = stats["utilization_by_unit"]
    moved = {space: size for space, size in stats["bytes_by_space"].items() if size}
    terminal.line()
    terminal.facts("busy", ((unit, percent(share)) for unit, share in busy.items()))
    terminal.line()
    terminal.facts("bytes moved", ((space, byte_size(size)) for space, size in moved.items()))
    terminal.line()
    _print_energy(terminal, stats)
    terminal.line()
    _print_nodes(terminal, stats)


def loading_facts(session: Session) -> dict[str, Any]:
    """What writing matrices into arrays took, as JSON values; empty where nothing was written."""
    return {} if session.loading is None else {"loading": session.loading.to_json()}


def print_loading(terminal: Terminal, session: Session) -> None:
    """Which units blocks run on where they have a choice, and what writing matrices into arrays took, once before."""
    rows = unit_rows(session.program)
    for stats in loading_facts(session).values():
        time, energy = with_unit(stats["time_s"], "s"), with_unit(stats["energy_j"], "J")
        rows.append(("weights into arrays", f"{time}, {energy}, once"))
    if rows:
        terminal.line()
        terminal.facts("", rows)


def summary_rows(stats: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and value of what matters most."""
    provenance = stats["provenance"]
    yield "machine", f"{provenance['machine']}, numerics {provenance['numerics']}"
    if provenance["timing_only"]:
        yield "data", "none: time and energy only"
    yield "cycles", count(stats["cycles"])
    yield "time", with_unit(stats["time_s"], "s")
    if stats["tokens"] and stats["time_s"]:
        yield "tokens", count(stats["tokens"])
        yield "tokens/s", f"{stats['tokens'] / stats['time_s']:,.0f}"
        yield "energy per token", with_unit(stats["energy_j"] / stats["tokens"], "J")
    yield "energy", f"{with_unit(stats['energy_j'], 'J')} ({provenance['accounting']} accounting)"
    yield "power", with_unit(stats["power_w"], "W")
    for key, name in (("peak_floor_s", "peak floor"), ("row_cycled_floor_s", "row-cycled floor")):
        if stats["bound"][key]:
            yield name, floor_text(stats["time_s"], stats["bound"][key])
    yield "KV cache", f"{count(stats['kv']['tokens_kept'])} tokens, {byte_size(stats['kv']['bytes'])}"
    if stats["area_mm2"]:
        yield "area", f"{stats['area_mm2']:,.2f} mm2 of the parts whose area is known"
    cells = stats.get("cells", {})
    if cells.get("most_writes"):
        most = count(cells["most_writes"])
        lives = f"they bear {cells['lives']:,.0f} such runs"
        yield "cells", f"{count(cells['columns_written'])} columns written, none more than {most} times; {lives}"


def floor_text(time_s: float, floor_s: float) -> str:
    """A lower bound, and how many times longer the run took."""
    return with_unit(floor_s, "s") + (f", the run takes {time_s / floor_s:.2f} times that" if floor_s else "")


def _print_energy(terminal: Terminal, stats: Mapping[str, Any]) -> None:
    parts = sorted(stats["energy_by_unit_j"].items(), key=lambda part: -part[1])
    rows = [(unit, with_unit(joules, "J"), percent(joules / stats["energy_j"])) for unit, joules in parts if joules]
    terminal.table("", ("energy", "", "share"), rows, right=("", "share"))


def _print_nodes(terminal: Terminal, stats: Mapping[str, Any]) -> None:
    nodes = sorted(stats["nodes"], key=lambda node: -node["cycles"])
    rows = [
        (
            node["node"],
            count(node["cycles"]),
            percent(node["cycles"] / stats["cycles"]),
            with_unit(node["energy_j"], "J"),
        )
        for node in nodes[:_TOP_NODES]
    ]
    shown = f"the {len(rows)} busiest of {len(nodes)}" if len(nodes) > len(rows) else "all"
    columns = (f"graph node ({shown})", "busy cycles", "of all", "energy")
    terminal.table("", columns, rows, right=columns[1:])
