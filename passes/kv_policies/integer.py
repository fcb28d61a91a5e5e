"""Plain integer quantisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from passes.kv_policies.mechanisms import Compression, Quantized
from passes.kv_policies.policy import Layer, check_parameters, choice, require_divides, whole


@dataclass(frozen=True)
class Integer:
    """Store keys and values as integers with a scale and a zero point per token or per channel."""

    name: ClassVar[str] = "int"
    mechanism: ClassVar[str] = "encoding"
    formula: ClassVar[str] = (
        "scale = (max - min) / (2^bits - 1), zero = min; code = round((x - zero) / scale), x' = code scale + zero"
    )
    source: ClassVar[str] = "asymmetric uniform quantisation, as KIVI (Liu et al., 2024) compares with"
    differences: ClassVar[str] = (
        "`axis` is that of the keys; values are always quantised per token. Tokens are quantised in whole groups, so"
        " up to `group` - 1 latest ones are exact. Scale and zero point are binary16."
    )

    bits: int = choice(8, (8, 4, 2), "bits of a code")
    value_bits: int | None = choice(None, (8, 4, 2), "bits of a value's code (default: bits)")
    axis: Literal["token", "channel"] = choice(
        "token", ("token", "channel"), "whether keys share a scale along a token or along a channel"
    )
    group: int = whole(16, 16, 4096, "tokens that are quantised together", multiple=16)
    width: int | None = whole(
        None, 16, 4096, "channels that share the scale of a token (default: the whole head)", multiple=16
    )

    def __post_init__(self) -> None:
        check_parameters(self)

    def compress(self, layer: Layer) -> Compression:
        """The same in every layer; the width of its heads is the default of `width`."""
        width = self._width(layer)
        require_divides(width, layer, "width")
        return Compression(encoding=Quantized(self.bits, self.value_bits or self.bits, self.axis, self.group, width, 0))

    def _width(self, layer: Layer) -> int:
        """The given width, or the largest that divides the heads of keys and of values."""
        return math.gcd(layer.head_dim, layer.value_dim) if self.width is None else self.width
