"""What a compression does, in words."""

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


def describe_compression(compression: Compression) -> str:
    """One line about what is kept, how it is stored, and what queries attend to."""
    parts = (compression.retention, compression.encoding, compression.selection)
    return "; ".join(_describe(part) for part in parts if part is not None) or "all tokens, exactly"


def _describe(part: Retention | Encoding | Selection) -> str:
    match part:
        case Ring(budget, sinks):
            return f"the first {sinks} and the latest {budget - sinks} tokens"
        case Scored(budget, interval, protected, _, _, shared):
            whose = "all heads together" if shared else "each key head"
            return (
                f"{budget} to {budget + interval} tokens that got most attention, the latest {protected} among them,"
                f" {whose}"
            )
        case Quantized(key_bits, value_bits, key_axis, group, width, residual):
            return (
                f"keys in {key_bits} bits per {key_axis}, values in {value_bits} bits per {width} channels of a token,"
                f" groups of {group} tokens, the latest {residual} exact"
            )
        case Levelled(key_bits, value_bits, key_threshold, value_threshold, _, levels):
            return (
                f"keys from {key_threshold:g} on in {key_bits} bits, values from {value_threshold:g} on in {value_bits}"
                f" bits, up to {levels} levels a channel"
            )
        case BestKeys(count):
            return f"attention to the {count} best keys"
        case BestPages(page, count):
            return f"attention to the {count} best pages of {page} tokens"
        case BinaryKeys(count, tile, tile_top, _):
            return f"attention to the {count} best by signs, {tile_top} of each {tile}"
