"""How a core cuts the vectors of a layer into tiles, and the rooms that its values take."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from isa import DigitalCim, Symbol, record_bytes
from pimc.backend.digital_cim.layer import CimLayer


@dataclass(frozen=True)
class Tiling:
    """Tiles of one token.

    Attributes:
        norm: Elements of each tile of a normalisation.
        prune: Tiles of keys and values; 0 where nothing is pruned.
        prune_elements: Elements of such a tile.
        code: Tiles of the survivors among keys and values, as declared; 0 where there are no codes.
        code_channels: Channels of such a tile.
        restore: Tiles of the elements that come back from codes, as declared; 0 where there are no codes.
        restore_channels: Channels of such a tile.
        channels: Elements of the key and the value of a token.
        relu: Tiles of the feed-forward network's middle.
        relu_elements: Elements of such a tile.
    """

    norm: tuple[int, ...]
    prune: int
    prune_elements: int
    code: int
    code_channels: int
    restore: int
    restore_channels: int
    channels: int
    relu: int
    relu_elements: int

    @property
    def row_words(self) -> int:
        """Words that the keys and values of a token take, with what the last tiles are too long."""
        tiles = (self.prune * self.prune_elements, self.code * self.code_channels, self.restore * self.restore_channels)
        return max(self.channels, *tiles)


def _code_tiles(layer: CimLayer, units: int, lanes: int) -> int:
    """Tiles of a token's survivors on units that take them side by side."""
    if not layer.cache.quantises:
        return 0
    survivors = math.ceil(layer.channels * (1 - layer.cache.zeros_pruned) / units)
    return math.ceil(survivors / lanes)


def tiling(layer: CimLayer, core: DigitalCim) -> Tiling:
    """How a core cuts a layer."""
    lanes = core.norm.count * core.norm.lanes
    norm = [min(lanes, layer.hidden - first) for first in range(0, layer.hidden, lanes)]
    prune_elements = core.prune.count * core.prune.lanes
    code, restore = (_code_tiles(layer, unit.count, unit.lanes) for unit in (core.quantise, core.dequantise))
    relu_elements = core.relu.count * core.relu.lanes
    return Tiling(
        norm=tuple(norm),
        prune=-(-layer.channels // prune_elements) if layer.cache.prunes else 0,
        prune_elements=prune_elements,
        code=code,
        code_channels=-(-layer.channels // code) if code else 0,
        restore=restore,
        restore_channels=-(-layer.channels // restore) if restore else 0,
        channels=layer.channels,
        relu=-(-layer.feed_forward // relu_elements),
        relu_elements=relu_elements,
    )


_OFF_CHIP = ("inputs_at", "outputs_at", "records_at", "weights_at", "slot")


@dataclass(frozen=True)
class Rooms:
    """First words of what the shared buffer holds, and first bytes of what lies off chip.

    Attributes:
        residual: Vectors of the tokens of a block, [tokens, hidden].
        normed: The same, normalised.
        query: Their queries; then what attention gives.
        middle: Middle of the feed-forward network, [tokens, feed_forward].
        cache: Keys and values of the context, [context, row_words].
        codes: Their codes, [context, row_words].
        scores: Scores, then probabilities, [tokens, heads, columns].
        gains: Gains and biases of both normalisations, [2, 2, hidden].
        addends: Biases of the matrices query, key, value and up.
        meta: Meta words of the channels.
        end: First free word.
        inputs_at: First byte of the inputs.
        outputs_at: First byte of the outputs.
        records_at: First byte of the records of the cache.
        weights_at: First byte of the weights.
        slot: Bytes from one record to the next.
    """

    residual: int
    normed: int
    query: int
    middle: int
    cache: int
    codes: int
    scores: int
    gains: int
    addends: int
    meta: int
    end: int
    inputs_at: int
    outputs_at: int
    records_at: int
    weights_at: int
    slot: int

    def symbols(self) -> tuple[Symbol, ...]:
        """Names of the rooms in the shared buffer."""
        names = [field.name for field in fields(self)]
        names = names[: names.index("end") + 1]
        starts = [int(getattr(self, name)) for name in names]
        return tuple(
            Symbol(name, "sb", start, behind - start)
            for name, start, behind in zip(names, starts, starts[1:], strict=False)
        )

    def off_chip(self) -> dict[str, int]:
        """Names and numbers of what lies off chip."""
        return {name: int(getattr(self, name)) for name in _OFF_CHIP}


def rooms(layer: CimLayer, tiles: Tiling, tokens: int, context: int, score_words: int) -> Rooms:
    """Rooms for blocks of at most `tokens` tokens, and for a context."""
    sizes = (
        tokens * layer.hidden,
        tokens * layer.hidden,
        tokens * layer.hidden,
        tokens * tiles.relu * tiles.relu_elements,
        context * tiles.row_words,
        context * tiles.row_words,
        score_words,
        4 * layer.hidden,
        3 * layer.hidden + layer.feed_forward,
        tiles.row_words,
    )
    words = [sum(sizes[:place]) for place in range(len(sizes) + 1)]
    slot = record_bytes(tiles.row_words, tiles.row_words, layer.cache.record_bits, layer.cache.record_bits)[1]
    if not layer.cache.has_records:
        slot = tiles.row_words
    octets = context * layer.hidden
    bytes_at = (0, octets, 2 * octets, 2 * octets + context * slot, slot)
    names = [field.name for field in fields(Rooms)]
    return Rooms(**dict(zip(names, (*words, *bytes_at), strict=True)))
