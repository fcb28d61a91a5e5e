"""Attention to the best keys only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.kv_policies.mechanisms import BestKeys, Compression
from passes.kv_policies.policy import Layer, check_parameters, whole


@dataclass(frozen=True)
class TopK:
    """Attend to the `k` keys with the largest scores of each query head; all tokens are kept."""

    name: ClassVar[str] = "topk"
    mechanism: ClassVar[str] = "selection"
    formula: ClassVar[str] = "softmax over the k largest of q k_i, of equal ones the first"
    source: ClassVar[str] = "Gupta et al., Memory-efficient Transformers via Top-k Attention (2021)"
    differences: ClassVar[str] = "The upper bound of every selection: all keys are read for the scores, k values count."

    k: int = whole(32, 1, 1 << 20, "keys that a query head attends to")

    def __post_init__(self) -> None:
        check_parameters(self)

    def compress(self, layer: Layer) -> Compression:
        """The same in every layer."""
        return Compression(selection=BestKeys(self.k))
