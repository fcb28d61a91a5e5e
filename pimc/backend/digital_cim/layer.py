"""A transformer layer for a core of digital CIM arrays: its sizes, its cache, and whether it fits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from isa import (
    DIGITAL_CIM_MATRICES,
    FULL_ACTIVITY,
    DigitalCim,
    Machine,
    MachineError,
    ResourceLimitError,
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
