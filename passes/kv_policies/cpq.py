"""Titanus' cascade of pruning and quantisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.kv_policies.mechanisms import Compression, Levelled
from passes.kv_policies.policy import Layer, check_parameters, real, whole


@dataclass(frozen=True)
class CascadePruneQuantize:
    """Prune small elements, quantise the rest per channel with ranges that grow, store and move non-zeros only."""

    name: ClassVar[str] = "cpq"
    mechanism: ClassVar[str] = "encoding"
    formula: ClassVar[str] = (
        "x survives when |x| >= tau; code = 1 + round((x - zero) / scale) of its channel's latest level; bytes of a"
        " token = ceil(2d / 8) bitmap + ceil(survivors / 8) level bits + ceil(bits of the codes / 8)"
    )
    source: ClassVar[str] = (
        "Titanus: Enabling KV Cache Pruning and Quantization On-the-Fly (GLSVLSI 2025, arXiv 2505.17787)"
    )
    differences: ClassVar[str] = (
        "The paper's thresholds are not public: `pimc calibrate` finds them. The first `warmup` tokens stay exact until"
        " they have opened the first levels. Code 0 says pruned, so a survivor has 2^bits - 1 codes and none of them"
        " becomes zero by rounding; the paper's does, which it counts as a second sparsity. When levels are used up,"
        " elements are clamped to the latest one."
    )

    bits_k: int = whole(4, 2, 8, "bits of a key's code")
    bits_v: int = whole(4, 2, 8, "bits of a value's code")
    tau_k: float = real(0.0, 0, 1e4, "magnitude below which keys are pruned")
    tau_v: float = real(0.0, 0, 1e4, "magnitude below which values are pruned")
    warmup: int = whole(32, 1, 2032, "first tokens, whose range opens the first level")
    levels: int = whole(16, 1, 255, "levels of a channel at most")
    survivors: float | None = real(
        None, 0, 1, "share that survives in runs without data (default: 1 without thresholds, else 0.66)"
    )

    def __post_init__(self) -> None:
        check_parameters(self)

    @property
    def _survivors(self) -> float:
        if self.survivors is not None:
            return self.survivors
        return 0.66 if self.tau_k or self.tau_v else 1.0

    def compress(self, layer: Layer) -> Compression:
        """The same in every layer."""
        thresholds = (float(self.tau_k), float(self.tau_v))
        encoding = Levelled(self.bits_k, self.bits_v, *thresholds, self.warmup, self.levels, self._survivors)
        return Compression(encoding=encoding)
