"""Attention to the pages of keys whose bound is best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.kv_policies.mechanisms import BestPages, Compression
from passes.kv_policies.policy import Layer, check_parameters, whole


@dataclass(frozen=True)
class Quest:
    """Attend to the pages of tokens that can score best by the extremes of their keys; all tokens are kept."""

    name: ClassVar[str] = "quest"
    mechanism: ClassVar[str] = "selection"
    formula: ClassVar[str] = "u_p = sum over channels c of max(q_c m_p,c, q_c M_p,c); attend to the `pages` best pages"
    source: ClassVar[str] = "Quest: Tang et al., Query-Aware Sparsity for Efficient Long-Context LLM Inference (2024)"
    differences: ClassVar[str] = (
        "Query heads that share a key head attend to the same pages, chosen by the largest of their bounds. The last"
        " page is always attended to and counts."
    )

    page: int = whole(16, 16, 4096, "tokens of a page", multiple=16)
    pages: int = whole(8, 1, 1 << 16, "pages attended to, the last one included")
    dense: int = whole(2, 0, 4096, "first layers that attend to all pages")

    def __post_init__(self) -> None:
        check_parameters(self)

    def compress(self, layer: Layer) -> Compression:
        """Nothing in the first `dense` layers."""
        return Compression(selection=None if layer.number < self.dense else BestPages(self.page, self.pages))
