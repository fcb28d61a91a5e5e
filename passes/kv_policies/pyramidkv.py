"""SnapKV with budgets that shrink from layer to layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.kv_policies.mechanisms import Compression, Scored
from passes.kv_policies.policy import Layer, check_parameters, choice, real, require, whole
from passes.kv_policies.snapkv import check_window


@dataclass(frozen=True)
class PyramidKV:
    """Evict as snapkv does, with large budgets in the first layers and small ones in the last."""

    name: ClassVar[str] = "pyramidkv"
    mechanism: ClassVar[str] = "retention"
    formula: ClassVar[str] = (
        "layer l of L keeps window + max - l (max - min) / (L - 1) tokens with min = (budget - window) / beta,"
        " max = 2 (budget - window) - min"
    )
    source: ClassVar[str] = (
        "PyramidKV: Cai et al., Dynamic KV Cache Compression based on Pyramidal Information Funneling (2024)"
    )
    differences: ClassVar[str] = "Those of snapkv. Budgets are rounded to whole tokens, halves to the even one."

    budget: int = whole(256, 2, 1 << 20, "tokens kept after an eviction, the mean over layers")
    window: int = whole(32, 1, 4096, "latest queries that score, and latest tokens that stay")
    kernel: int = choice(5, (1, 3, 5, 7, 9, 11, 13), "neighbouring tokens over which the score is summed")
    interval: int | None = whole(None, 1, 4096, "tokens evicted at once (default: window)")
    beta: float = real(20, 1, 1000, "how much smaller than the mean the last layer's budget is")

    def __post_init__(self) -> None:
        check_parameters(self)
        check_window(self.budget, self.window, self._evicted)
        require(
            (self.budget - self.window) / self.beta >= 1,
            f"a beta of {self.beta:g} leaves the last layer less than one of {self.budget - self.window} tokens",
            f"give beta={self.budget - self.window} or less",
        )

    @property
    def _evicted(self) -> int:
        return self.window if self.interval is None else self.interval

    def budget_of(self, layer: int, count: int) -> int:
        """Tokens that one of `count` layers keeps after an eviction, its window included."""
        mean = self.budget - self.window
        least = mean / self.beta
        most = 2 * mean - least
        return self.budget if count == 1 else self.window + round(most - layer * (most - least) / (count - 1))

    def compress(self, layer: Layer) -> Compression:
        """The budget of the layer."""
        budget = self.budget_of(layer.number, layer.count)
        return Compression(retention=Scored(budget, self._evicted, self.window, self.window, self.kernel, False))
