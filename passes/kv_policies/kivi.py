"""Keys per channel, values per token, and a window that stays exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.kv_policies.mechanisms import Compression, Quantized
from passes.kv_policies.policy import Layer, check_parameters, choice, require, require_divides, whole


@dataclass(frozen=True)
class Kivi:
    """Quantise keys per channel and values per token in groups, and keep the latest tokens exact."""

    name: ClassVar[str] = "kivi"
    mechanism: ClassVar[str] = "encoding"
    formula: ClassVar[str] = (
        "zero = min, scale = (max - min) / (2^bits - 1) of `group` tokens of a key channel, of `group` channels of a"
        " token's value; the latest `residual` tokens stay exact"
    )
    source: ClassVar[str] = "KIVI: Liu et al., A Tuning-Free Asymmetric 2bit Quantization for KV Cache (2024)"
    differences: ClassVar[str] = (
        "The paper quantises a key group when `residual` tokens are full and values one by one; here both are quantised"
        " in groups, the oldest when residual + group tokens are exact. Scale and zero point are binary16. The paper"
        " advises 2 bits for heads of their own keys, 4 for grouped heads."
    )

    bits: int = choice(4, (4, 2, 8), "bits of a code")
    value_bits: int | None = choice(None, (4, 2, 8), "bits of a value's code (default: bits)")
    group: int = whole(32, 16, 4096, "tokens of a key group, and channels of a value group", multiple=16)
    residual: int = whole(128, 0, 65536, "latest tokens that stay exact at least, a multiple of group")

    def __post_init__(self) -> None:
        check_parameters(self)
        require(
            self.residual % self.group == 0,
            f"{self.residual} exact tokens are no multiple of groups of {self.group}",
            f"give residual={-(-self.residual // self.group) * self.group}",
        )

    def compress(self, layer: Layer) -> Compression:
        """The same in every layer."""
        require_divides(self.group, layer, "group")
        widths = self.bits, self.value_bits or self.bits
        return Compression(encoding=Quantized(*widths, "channel", self.group, self.group, self.residual))
