"""What the user chooses about a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ProgramOptions:
    """What the user chooses about a program.

    Attributes:
        max_context: Longest attended length, which the KV cache reserves.
        chunk: Tokens of one `prefill` run at most.
        numerics: `machine` or `fp32`.
        metadata: Further facts to record in the program.
        weights: Whether the program holds the weights; without them it can only be timed.
        optimize: Whether to run the optional passes over the code.
        longest_run: Tokens of one run at most where these cannot come in pieces; `None` allows `max_context`.
    """

    max_context: int
    chunk: int
    numerics: str
    metadata: Mapping[str, Any]
    weights: bool = True
    optimize: bool = True
    longest_run: int | None = None
