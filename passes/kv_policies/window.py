"""A sliding window with attention sinks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.kv_policies.mechanisms import Compression, Ring
from passes.kv_policies.policy import Layer, check_parameters, require, whole


@dataclass(frozen=True)
class Window:
    """Keep the first `sink` and the latest `budget - sink` tokens."""

    name: ClassVar[str] = "window"
    mechanism: ClassVar[str] = "retention"
    formula: ClassVar[str] = "token t of n stays while t < sink or t >= n - (budget - sink)"
    source: ClassVar[str] = "StreamingLLM: Xiao et al., Efficient Streaming Language Models with Attention Sinks (2023)"
    differences: ClassVar[str] = (
        "The paper gives the kept tokens the positions 0, 1, 2, ... of the cache before the rotary embedding; here each"
        " keeps the position that it had in the sequence, as its key is stored with the rotary embedding applied. Both"
        " are the same until `budget` tokens; a model far beyond its trained context needs the paper's positions."
    )

    sink: int = whole(4, 0, 65536, "first tokens that are never evicted")
    budget: int = whole(512, 1, 1 << 20, "tokens kept, the newest included")

    def __post_init__(self) -> None:
        check_parameters(self)
        require(
            self.budget > self.sink,
            f"a budget of {self.budget} tokens has no room for {self.sink} sinks and the newest token",
            f"give budget={self.sink + 1} or more",
        )

    def compress(self, layer: Layer) -> Compression:
        """A ring of the same size in every layer."""
        return Compression(retention=Ring(self.budget, self.sink))
