"""A transformer layer for a core of digital CIM arrays: its sizes, and the rooms that its values take."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

from isa import (
    DIGITAL_CIM_MATRICES,
    FULL_ACTIVITY,
    DigitalCim,
    Machine,
    MachineError,
    ResourceLimitError,
    Symbol,
    record_bytes,
)

_BYTE = 8


@dataclass(frozen=True)
class DeclaredCache:
    """What happens to keys and values, and what a program without data declares about them.

    Attributes:
        zeros_pruned: Share of elements that pruning makes zero.
        zeros_coded: Share of codes that are zero.
        zeros_restored: Share of elements that are zero when their codes are dequantised.
        key_bits: Mean bits of a code of a key.
        value_bits: Mean bits of a code of a value.
        prunes: Whether small elements become zero.
        quantises: Whether elements become codes; else they go off chip as INT8.
    """

    zeros_pruned: float
    zeros_coded: float
    zeros_restored: float
    key_bits: float
    value_bits: float
    prunes: bool = True
    quantises: bool = True

    def without_pruning(self) -> DeclaredCache:
        """The same cache whose pruning units are off: no element is zero."""
        return replace(self, zeros_pruned=0.0, zeros_coded=0.0, zeros_restored=0.0, prunes=False)

    def without_codes(self) -> DeclaredCache:
        """The same cache whose quantisation units are off: what survives stays INT8."""
        zeros = self.zeros_pruned
        return replace(self, zeros_coded=zeros, zeros_restored=zeros, key_bits=8.0, value_bits=8.0, quantises=False)

    @property
    def code_bits(self) -> int:
        """Bits of a code in a record: the mean ones, rounded up."""
        return math.ceil(max(self.key_bits, self.value_bits))

    @property
    def record_bits(self) -> int:
        """Bits of an element in a record."""
        return self.code_bits if self.quantises else _BYTE

    @property
    def has_records(self) -> bool:
        """Whether elements that are zero are left out off chip."""
        return self.prunes or self.quantises

    def record_bytes(self, channels: int) -> int:
        """Bytes of a token: its codes at their mean width, a bit a channel, a bit for each survivor's level.

        ceil(c (1 - coded) b / 8) + ceil(c / 8) + ceil(c (1 - pruned) / 8) for c channels of keys and values and b bits
        in the mean (src/ops.py of github.com/peilin-chen/Titanus-for-LLM-acceleration 8af1fba). Nothing is left out
        where nothing is pruned, so that the second term falls away, and the third where there are no codes.
        """
        bits = (self.key_bits + self.value_bits) / 2
        codes = math.ceil(channels * (1 - self.zeros_coded) / (_BYTE / bits))
        bitmap = math.ceil(channels / _BYTE) if self.prunes else 0
        levels = math.ceil(channels * (1 - self.zeros_pruned) / _BYTE) if self.quantises else 0
        return codes + bitmap + levels


@dataclass(frozen=True)
class LayerNumbers:
    """Factors that a calibrated model gives; time and energy do not depend on them.

    Attributes:
        scales: Factor of the sums of each matrix, in the order of `isa.DIGITAL_CIM_MATRICES`.
        score_step: What a product of a query's and a key's INT8 step is worth in a score.
        threshold: Magnitude from which elements of keys and values survive.
    """

    scales: tuple[float, ...] = (1.0,) * len(DIGITAL_CIM_MATRICES)
    score_step: float = 1.0
    threshold: float = 0.0


@dataclass(frozen=True)
class CimLayer:
    """A decoder layer: two normalisations, attention, a feed-forward network with ReLU.

    Attributes:
        hidden: Width.
        heads: Attention heads.
        feed_forward: Width of the feed-forward network.
        cache: What is declared about its keys and values.
        numbers: Its factors.
    """

    hidden: int
    heads: int
    feed_forward: int
    cache: DeclaredCache
    numbers: LayerNumbers = LayerNumbers()

    @property
    def head_width(self) -> int:
        """Elements of a head."""
        return self.hidden // self.heads

    @property
    def channels(self) -> int:
        """Elements of the key and the value of a token."""
        return 2 * self.hidden


def core_for(layer: CimLayer, machine: Machine) -> DigitalCim:
    """The core of a machine, if it fits a layer.

    Raises:
        MachineError: the machine has no core, or no off-chip memory.
        ResourceLimitError: the layer does not fit the arrays or the engines.
    """
    core = machine.digital_cim
    if core is None or machine.off_chip is None:
        raise MachineError(f"the machine '{machine.name}' has no digital CIM core with off-chip memory")
    needed = {"query": (layer.hidden, layer.hidden), "up": (layer.hidden, layer.feed_forward)}
    notes = [
        f"{name}: {size[0]} x {size[1]} of {core.matrices[name][0]} x {core.matrices[name][1]} weights"
        for name, size in needed.items()
        if size[0] > core.matrices[name][0] or size[1] > core.matrices[name][1]
    ]
    for name, unit in (("engines", core.engines), ("softmax units", core.softmax)):
        if layer.heads > unit.count:
            notes.append(f"{name}: {layer.heads} heads, {unit.count} {name}")
    if notes:
        raise ResourceLimitError(
            f"the layer does not fit the core of '{machine.name}'",
            notes=notes,
            help="give a machine with a larger core",
        )
    return core


@dataclass(frozen=True)
class Tiling:
    """Tiles of one token.

    Attributes:
        norm: Elements of each tile of a normalisation.
        prune: Tiles of keys and values; 0 where nothing is pruned.
        prune_elements: Elements of such a tile.
        code: Tiles of the survivors among keys and values, as declared; 0 where there are no codes.
        code_channels: Channels of such a tile.
        channels: Elements of the key and the value of a token.
        relu: Tiles of the feed-forward network's middle.
        relu_elements: Elements of such a tile.
    """

    norm: tuple[int, ...]
    prune: int
    prune_elements: int
    code: int
    code_channels: int
    channels: int
    relu: int
    relu_elements: int

    @property
    def row_words(self) -> int:
        """Words that the keys and values of a token take, with what the last tiles are too long."""
        return max(self.channels, self.prune * self.prune_elements, self.code * self.code_channels)


def tiling(layer: CimLayer, core: DigitalCim) -> Tiling:
    """How a core cuts a layer."""
    lanes = core.norm.count * core.norm.lanes
    norm = [min(lanes, layer.hidden - first) for first in range(0, layer.hidden, lanes)]
    prune_elements = core.prune.count * core.prune.lanes
    survivors = math.ceil(layer.channels * (1 - layer.cache.zeros_pruned) / core.quantise.count)
    code = math.ceil(survivors / core.quantise.lanes) if layer.cache.quantises else 0
    relu_elements = core.relu.count * core.relu.lanes
    return Tiling(
        norm=tuple(norm),
        prune=-(-layer.channels // prune_elements) if layer.cache.prunes else 0,
        prune_elements=prune_elements,
        code=code,
        code_channels=-(-layer.channels // code) if code else 0,
        channels=layer.channels,
        relu=-(-layer.feed_forward // relu_elements),
        relu_elements=relu_elements,
    )


@dataclass(frozen=True)
class Activities:
    """Operand `activity` of the tiles whose operands may be zero.

    Attributes:
        scores: Of dot products with keys: lanes without padding, keys that pruning left.
        values: Of dot products with values: filled lanes, values that are not zero.
        quantise: Survivors.
        dequantise: Codes that are not zero.
    """

    scores: int
    values: int
    quantise: int
    dequantise: int


_FILL_BEYOND_LANES = 0.5
"""Share of the lanes that the published simulator counts as filled once a context is as long as they are many."""


def activities(layer: CimLayer, core: DigitalCim, context: int) -> Activities:
    """Activities of a workload whose last token has `context` tokens, as src/modules.py of the authors has them."""
    lanes, cache = core.engines.lanes, layer.cache
    fill = _FILL_BEYOND_LANES if context >= lanes else context / lanes
    shares = (
        min(1.0, layer.head_width / lanes) * (1 - cache.zeros_pruned),
        fill * (1 - cache.zeros_restored),
        1 - cache.zeros_pruned,
        1 - cache.zeros_coded,
    )
    return Activities(*(round(share * FULL_ACTIVITY) for share in shares))


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
        return {name: int(getattr(self, name)) for name in ("inputs_at", "records_at", "weights_at", "slot")}


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
    names = [field.name for field in fields(Rooms)]
    return Rooms(**dict(zip(names, (*words, 0, octets, octets + context * slot, slot), strict=True)))
