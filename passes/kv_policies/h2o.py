"""Heavy hitters: eviction by accumulated attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.kv_policies.mechanisms import Compression, Scored
from passes.kv_policies.policy import Layer, check_parameters, choice, require, whole


@dataclass(frozen=True)
class HeavyHitters:
    """Keep the tokens that all queries so far gave most attention to, and the latest ones."""

    name: ClassVar[str] = "h2o"
    mechanism: ClassVar[str] = "retention"
    formula: ClassVar[str] = "S_i = sum over queries t >= i of a_t,i; evict argmin S_i outside of the `recent` latest"
    source: ClassVar[str] = "H2O: Zhang et al., Heavy-Hitter Oracle for Efficient Generative Inference (2023)"
    differences: ClassVar[str] = (
        "Query heads that share a key head are summed, because one row of the cache serves them all. With `interval`"
        " above 1 that many tokens are evicted at once, so that up to budget + interval are held. The prompt is read"
        " token by token, with evictions from the first token beyond the budget on, instead of once behind it."
    )

    budget: int = whole(256, 1, 1 << 20, "tokens kept after an eviction")
    recent: int | None = whole(None, 0, 1 << 20, "latest tokens that are not evicted (default half the budget)")
    interval: int = whole(1, 1, 4096, "tokens evicted at once")
    per: str = choice("head", ("head", "layer"), "whether each key head evicts for itself, or all of a layer together")

    def __post_init__(self) -> None:
        check_parameters(self)
        require(
            self._recent <= self.budget,
            f"{self._recent} recent tokens do not fit a budget of {self.budget} tokens",
            f"give recent={self.budget} or less",
        )

    @property
    def _recent(self) -> int:
        return self.budget // 2 if self.recent is None else self.recent

    def compress(self, layer: Layer) -> Compression:
        """The same budget in every layer."""
        shared = self.per == "layer"
        return Compression(retention=Scored(self.budget, self.interval, self._recent, 0, 1, shared))
