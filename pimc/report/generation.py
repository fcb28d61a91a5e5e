"""Speed and energy of text generation: rows of a table, JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pimc.generation import Steps
from pimc.report.quantities import count, with_unit
from pimc.report.terminal import Terminal
from pimc.simulator import Statistics


def print_speed(terminal: Terminal, decoder: Steps) -> None:
    """One row for the prompt, one for the generated tokens."""
    columns = ("phase", "tokens", "tokens/s", "cycles/token", "energy/token", "time")
    terminal.table("", columns, [_row(*phase) for phase in _phases(decoder)], right=columns[1:])


def speed_facts(decoder: Steps) -> dict[str, Any]:
    """The same as JSON values, by phase."""
    return {
        name: {
            "tokens": taken.tokens,
            "cycles": taken.cycles,
            "time_s": taken.time_s,
            "energy_j": taken.energy_j,
            "tokens_per_s": taken.tokens / taken.time_s,
            "energy_j_per_token": taken.energy_j / taken.tokens,
        }
        for name, taken in _phases(decoder)
    }


def _phases(decoder: Steps) -> Iterator[tuple[str, Statistics]]:
    if decoder.prefill is not None:
        yield "prefill", decoder.prefill
    if decoder.decode is not None:
        yield "decode", decoder.decode


def _row(name: str, taken: Statistics) -> tuple[str, ...]:
    return (
        name,
        count(taken.tokens),
        f"{taken.tokens / taken.time_s:,.0f}",
        count(round(taken.cycles / taken.tokens)),
        with_unit(taken.energy_j / taken.tokens, "J"),
        with_unit(taken.time_s, "s"),
    )
