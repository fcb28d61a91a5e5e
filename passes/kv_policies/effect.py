"""From how many tokens on a compression changes what a query attends to."""

from __future__ import annotations

from passes.kv_policies.mechanisms import (
    BestKeys,
    BestPages,
    BinaryKeys,
    Compression,
    Encoding,
    Levelled,
    Quantized,
    Retention,
    Ring,
    Scored,
    Selection,
)


def first_effect(compression: Compression) -> int:
    """Tokens of the shortest sequence whose last query sees every mechanism at work."""
    return max((_tokens(part) for part in _parts(compression)), default=1)


def thorough_length(compression: Compression) -> int:
    """Tokens of a sequence over which every mechanism acts several times."""
    more = sum(_period(part) for part in _parts(compression))
    return first_effect(compression) + max(2 * more, 8)


def _parts(compression: Compression) -> list[Retention | Encoding | Selection]:
    parts = (compression.retention, compression.encoding, compression.selection)
    return [part for part in parts if part is not None]


def _tokens(part: Retention | Encoding | Selection) -> int:
    match part:
        case Ring(budget, _):
            return budget + 1
        case Scored(budget, interval):
            return budget + interval + 1
        case Quantized(group=group, residual=residual):
            return residual + group + 1
        case Levelled(warmup=warmup):
            return warmup + 1
        case BestKeys(count):
            return count + 1
        case BestPages(page, count):
            return page * count + 1
        case BinaryKeys():
            return 1


def _period(part: Retention | Encoding | Selection) -> int:
    """Tokens from one act to the next."""
    match part:
        case Scored(interval=interval):
            return interval
        case Quantized(group=group):
            return group
        case BestPages(page=page):
            return page
        case BinaryKeys(tile=tile, count=count):
            return max(tile, count)
        case _:
            return 4
