"""The policy that keeps everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.kv_policies.mechanisms import Compression
from passes.kv_policies.policy import Layer


@dataclass(frozen=True)
class KeepAll:
    """Keep every token exactly."""

    name: ClassVar[str] = "none"
    mechanism: ClassVar[str] = "nothing"
    formula: ClassVar[str] = "all tokens, as computed"
    source: ClassVar[str] = "the model itself"
    differences: ClassVar[str] = "none"

    def compress(self, layer: Layer) -> Compression:
        """No mechanism takes part."""
        return Compression()
