"""Eviction of what the newest query cares least for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.kv_policies.mechanisms import Compression, Scored
from passes.kv_policies.policy import Layer, check_parameters, whole


@dataclass(frozen=True)
class TokenOmission:
    """Evict the token that the newest query gave least attention to, the same one in all heads of a layer."""

    name: ClassVar[str] = "tova"
    mechanism: ClassVar[str] = "retention"
    formula: ClassVar[str] = "evict argmin over i of sum over heads of a_n,i, for the newest query n"
    source: ClassVar[str] = "TOVA: Oren et al., Transformers are Multi-State RNNs (2024)"
    differences: ClassVar[str] = (
        "The mean over heads is a sum, which orders tokens alike. The newest token is never evicted. Eviction begins"
        " at the first token beyond the budget, also within the prompt."
    )

    budget: int = whole(256, 1, 1 << 20, "tokens kept")

    def __post_init__(self) -> None:
        check_parameters(self)

    def compress(self, layer: Layer) -> Compression:
        """The same budget in every layer."""
        return Compression(retention=Scored(self.budget, 1, 1, 1, 1, True))
