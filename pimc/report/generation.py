"""Speed and energy of text generation as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator

from pimc.generation import Decoder
from pimc.report.quantities import count, with_unit


def phase_rows(decoder: Decoder) -> Iterator[tuple[str, ...]]:
    """One row for the prompt, one for the generated tokens: tokens, rate, cycles and energy of a token, time."""
    for name, phase in (("prefill", decoder.prefill), ("decode", decoder.decode)):
        if phase.tokens:
            yield (
                name,
                count(phase.tokens),
                f"{phase.tokens_per_s:,.0f}",
                count(round(phase.cycles / phase.tokens)),
                with_unit(phase.joules_per_token, "J"),
                with_unit(phase.time_s, "s"),
            )
