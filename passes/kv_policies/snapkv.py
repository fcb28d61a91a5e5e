"""Eviction by the attention of a window of queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.kv_policies.mechanisms import Compression, Scored
from passes.kv_policies.policy import Layer, check_parameters, choice, require, whole


@dataclass(frozen=True)
class SnapKV:
    """Keep the tokens whose neighbourhood the latest `window` queries gave most attention to, and the window itself."""

    name: ClassVar[str] = "snapkv"
    mechanism: ClassVar[str] = "retention"
    formula: ClassVar[str] = (
        "score_i = sum over |j - i| <= kernel // 2 of sum over the latest `window` queries t of a_t,j;"
        " keep the window and the best budget - window"
    )
    source: ClassVar[str] = "SnapKV: Li et al., LLM Knows What You are Looking for Before Generation (2024)"
    differences: ClassVar[str] = (
        "Means and average pooling are sums, which order tokens alike. Query heads that share a key head are summed,"
        " where the paper's keep tokens of their own. The paper compresses the prompt once and keeps what is generated;"
        " here every `interval` tokens beyond the budget are evicted at once, prompt or not, so that up to budget +"
        " interval tokens are held. Pooling looks at tokens of the window, too, where the paper's ends before them, and"
        " after the first eviction it runs over neighbours in memory."
    )

    budget: int = whole(256, 2, 1 << 20, "tokens kept after an eviction")
    window: int = whole(32, 1, 4096, "latest queries that score, and latest tokens that stay")
    kernel: int = choice(5, (1, 3, 5, 7, 9, 11, 13), "neighbouring tokens over which the score is summed")
    interval: int | None = whole(None, 1, 4096, "tokens evicted at once (default: window)")

    def __post_init__(self) -> None:
        check_parameters(self)
        check_window(self.budget, self.window, self.evicted)

    @property
    def evicted(self) -> int:
        """Tokens evicted at once."""
        return self.window if self.interval is None else self.interval

    def compress(self, layer: Layer) -> Compression:
        """The same budget in every layer."""
        return Compression(retention=Scored(self.budget, self.evicted, self.window, self.window, self.kernel, False))


def check_window(budget: int, window: int, interval: int) -> None:
    """Raise `InputError` when a window of queries does not fit the budget or the time between evictions."""
    require(
        window < budget,
        f"a window of {window} tokens leaves nothing of a budget of {budget} tokens",
        f"give budget={window + 1} or more",
    )
    require(
        window <= interval,
        f"a window of {window} queries is longer than the {interval} tokens between two evictions",
        f"give interval={window} or more",
    )
