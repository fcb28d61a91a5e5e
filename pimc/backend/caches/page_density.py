"""What runs without data read of a cache whose pages are chosen: the pages that the policy declares, spread evenly.

Every key/value head chooses the latest page, and `count` - 1 others independently of other heads. Of S slots and P
pages the heads that lie side by side in groups of channels hit S (1 - (1 - 1/M)^n) slots in the mean, with
M = min(S, P) and n = (count - 1) groups + 1. The channels with tokens of the chosen pages are spread over these slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa import Indexed
from pimc.backend.attention.attention_in_banks import ceil_div

if TYPE_CHECKING:
    from pimc.backend.attention.attention_block import Block
    from pimc.backend.caches.page_choice import PageChoice
    from pimc.backend.lowering import Lowering

_ONE_BITS = 15
"""Probabilities are integers of this many binary places."""


@dataclass(frozen=True)
class Density:
    """Registers of what is expected; they hold something in runs without data only.

    Attributes:
        is_missing: 0 in runs with data.
        slots: Slots that are hit.
        parts: Channels that are read, summed over these slots.
    """

    is_missing: int
    slots: int
    parts: int


def find_data(low: Lowering, choice: PageChoice) -> int:
    """Emit the look at whether there are data; gives a register that is 0 when there are, once `expect` comes by."""
    is_missing = low.emitter.register()
    low.emitter.emit("vfill", choice.rooms.has_data, 1.0, 1, type="i32")
    low.emitter.emit("lds", is_missing, choice.rooms.has_data)
    return is_missing


def expect(block: Block, choice: PageChoice, is_missing: int) -> Density:
    """Emit what is expected of the current query, behind `find_data`."""
    low, emit = block.low, block.low.emitter.emit
    density = Density(is_missing, low.emitter.register(), low.emitter.register())
    emit("li", density.slots, Indexed(0, block.extent.slots))
    emit("li", density.parts, 0)
    emit("sub", is_missing, is_missing, 1)
    with low.emitter.unless_zero(is_missing):
        with low.emitter.unless_zero(choice.beyond):
            _expect_slots(block, choice, density.slots)
        _expect_parts(block, choice, density.parts)
    return density


def _expect_slots(block: Block, choice: PageChoice, slots: int) -> None:
    low, emit = block.low, block.low.emitter.emit
    tries = (choice.rooms.chosen.count - 1) * block.rooms.keys.groups + 1
    most = low.emitter.scalar("add", choice.complete, 1)
    emit("min", most, most, Indexed(0, slots))
    emit("max", most, most, 1)
    missed = low.emitter.scalar("sub", most, 1)
    emit("mul", missed, missed, 1 << _ONE_BITS)
    emit("divu", missed, missed, Indexed(0, most))
    emit("max", missed, missed, 0)
    emit("min", missed, missed, 1 << _ONE_BITS)
    _power(low, missed, most, tries)
    emit("mul", most, most, Indexed(0, slots))
    emit("shr", most, most, _ONE_BITS)
    emit("sub", slots, slots, Indexed(0, most))
    emit("max", slots, slots, 1)
    low.emitter.release(most, missed)


def _power(low: Lowering, base: int, result: int, exponent: int) -> None:
    """Emit result = base^exponent, by squares; `base`, a probability, is changed."""
    emit = low.emitter.emit
    emit("li", result, 1 << _ONE_BITS)
    while exponent:
        if exponent & 1:
            emit("mul", result, result, Indexed(0, base))
            emit("shr", result, result, _ONE_BITS)
        exponent >>= 1
        if exponent:
            emit("mul", base, base, Indexed(0, base))
            emit("shr", base, base, _ONE_BITS)


def _expect_parts(block: Block, choice: PageChoice, parts: int) -> None:
    """As many as the chosen tokens of a head of each group fill."""
    low, keys, emit = block.low, block.rooms.keys, block.low.emitter.emit
    held = ceil_div(low, block.extent.end, keys.banks)
    emit("min", held, held, choice.rooms.chosen.count * choice.rooms.groups_of_banks)
    emit("mul", parts, held, keys.groups)
    low.emitter.release(held)


def expect_run(low: Lowering, density: Density, run: tuple[int, int, int], most: int, bits: int) -> None:
    """Emit the bits of the slots of a run that are hit, in runs without data.

    Args:
        low: State of the lowering.
        density: What is expected.
        run: Registers of the first slot of the run, of its slots, of all slots.
        most: Slots of a run at most.
        bits: Register that is set.
    """
    (first, count, slots), emit = run, low.emitter.emit
    with low.emitter.unless_zero(density.is_missing):
        before = low.emitter.scalar("mul", first, Indexed(0, density.slots))
        emit("divu", before, before, Indexed(0, slots))
        emit("add", bits, first, Indexed(0, count))
        emit("mul", bits, bits, Indexed(0, density.slots))
        emit("divu", bits, bits, Indexed(0, slots))
        emit("sub", bits, bits, Indexed(0, before))
        emit("max", bits, bits, 0)
        emit("min", bits, bits, most)
        emit("li", before, 1)
        emit("shl", bits, before, Indexed(0, bits))
        emit("sub", bits, bits, 1)
        low.emitter.release(before)


def expect_channels(block: Block, density: Density, begin: int, place: int, channels: int) -> None:
    """Emit the mask of the channels that are read of a slot, in runs without data: others by turns.

    Args:
        block: The attention block.
        density: What is expected.
        begin: Register with the slots that were hit before those of the run.
        place: Register with those of the run.
        channels: Register that is set.
    """
    low, emit = block.low, block.low.emitter.emit
    most = block.rooms.keys.groups * block.rooms.keys.channels_per_group
    with low.emitter.unless_zero(density.is_missing):
        before, after = (low.emitter.scalar("add", begin, Indexed(0, place)) for _ in range(2))
        emit("add", after, after, 1)
        for parts in (before, after):
            emit("mul", parts, parts, Indexed(0, density.parts))
            emit("divu", parts, parts, Indexed(0, density.slots))
        emit("sub", after, after, Indexed(0, before))
        emit("max", after, after, 1)
        emit("min", after, after, most)
        emit("li", channels, 1)
        emit("shl", channels, channels, Indexed(0, after))
        emit("sub", channels, channels, 1)
        emit("sub", after, after, most + 1)
        emit("mul", after, after, -1)
        emit("remu", before, before, Indexed(0, after))
        emit("shl", channels, channels, Indexed(0, before))
        low.emitter.release(before, after)


def release(low: Lowering, density: Density) -> None:
    """Give the registers back."""
    low.emitter.release(density.is_missing, density.slots, density.parts)
