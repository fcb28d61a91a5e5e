"""Two or more texts that are generated in turns from the same prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pimc.generation import Decoder


@dataclass(eq=False)
class Side:
    """One of the texts.

    Attributes:
        policy: What compresses the KV cache, `none` for nothing.
        decoder: The model with that cache.
        stream: Its tokens to come.
        tokens: Those that have come.
    """

    policy: str
    decoder: Decoder
    stream: Iterator[int]
    tokens: list[int] = field(default_factory=list[int])

    @property
    def cache_bytes(self) -> int:
        """Size of the KV cache at the end so far."""
        latest = self.decoder.decode or self.decoder.prefill
        return latest.cache.bytes if latest is not None else 0


def in_turns(sides: Sequence[Side]) -> Iterator[Side]:
    """Take a token of each side in turn until all have ended; yields the side whose token has come."""
    running = list(sides)
    while running:
        for side in list(running):
            token = next(side.stream, None)
            if token is None:
                running.remove(side)
                continue
            side.tokens.append(token)
            yield side


def first_difference(first: Sequence[int], second: Sequence[int]) -> int | None:
    """Place of the first token that differs or that one of them lacks, `None` when they are equal."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return None if len(first) == len(second) else min(len(first), len(second))
