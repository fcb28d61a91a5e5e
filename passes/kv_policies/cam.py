"""Scores by signs, as an associative memory finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.kv_policies.mechanisms import BinaryKeys, Compression
from passes.kv_policies.policy import Layer, check_parameters, require, whole


@dataclass(frozen=True)
class AssociativeMemory:
    """Score keys by the signs that they share with the query, keep the best of each tile, then the best of these."""

    name: ClassVar[str] = "cam"
    mechanism: ClassVar[str] = "selection"
    formula: ClassVar[str] = (
        "code_i = min(2^bits - 1, matches_i 2^bits div d); softmax over scale (2 code_i d / 2^bits - d) of the k best"
        " of the `tile_top` best of each tile"
    )
    source: ClassVar[str] = "CAMformer (arXiv 2511.19740)"
    differences: ClassVar[str] = (
        "The function only, on any model; the paper trains its models for binary keys. Codes are integers; ties go to"
        " the earlier key."
    )

    k: int = whole(32, 1, 1 << 16, "keys that a query head attends to")
    tile: int = whole(16, 2, 1024, "keys of a tile")
    tile_top: int = whole(2, 1, 1024, "keys that a tile passes on")
    bits: int = whole(6, 1, 16, "resolution of a match line")

    def __post_init__(self) -> None:
        check_parameters(self)
        require(
            self.tile_top <= self.tile,
            f"a tile of {self.tile} keys cannot pass on {self.tile_top}",
            f"give tile_top={self.tile} or less",
        )

    def compress(self, layer: Layer) -> Compression:
        """The same in every layer."""
        return Compression(selection=BinaryKeys(self.k, self.tile, self.tile_top, self.bits))
