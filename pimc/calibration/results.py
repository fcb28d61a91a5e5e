"""What a calibration found, for every layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from passes import Cache, stored
from pimc.calibration.model import Elements
from pimc.calibration.pruning import record_bytes, survivors
from pimc.calibration.settings import Settings

_ELEMENT_BYTES = 2


@dataclass(frozen=True)
class LayerResult:
    """What was found for one layer.

    Attributes:
        layer: Its number.
        key_bits: Bits of a key's code.
        value_bits: Bits of a value's code.
        key_threshold: Magnitude below which keys are pruned; `None` where nothing is pruned.
        value_threshold: The same for values.
        key_survivors: Share of the keys' elements that survive, as measured; `None` where nothing is pruned.
        value_survivors: The same for values.
        survivors: Share of all elements.
        bytes_per_token: Mean size of a token's record; without records, bytes of the cache at the end of a window over
            the tokens of the window.
        exact_bytes_per_token: Size of a token's keys and values in bfloat16.
    """

    layer: int
    key_bits: int
    value_bits: int
    key_threshold: float | None
    value_threshold: float | None
    key_survivors: float | None
    value_survivors: float | None
    survivors: float | None
    bytes_per_token: float
    exact_bytes_per_token: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return dict(vars(self))


@dataclass(frozen=True)
class Calibration:
    """What was found for all layers.

    Attributes:
        sparsity: Share of elements that was to be pruned, `None` when no layer prunes.
        layers: Of the layers that were looked at.
        specification: For `--kv`, a clause a layer.
        perplexity: With this specification over the text, `None` when it was not asked for.
        exact_perplexity: Without compression.
    """

    sparsity: float | None
    layers: tuple[LayerResult, ...]
    specification: str
    perplexity: float | None = None
    exact_perplexity: float | None = None


def layer_results(
    settings: Settings, elements: Mapping[int, Elements], caches: list[Cache], tokens: int
) -> tuple[LayerResult, ...]:
    """Figures of every layer that encodes.

    Args:
        settings: What was found.
        elements: Of the layers that prune.
        caches: Of all layers, with these settings.
        tokens: Tokens of a window.
    """
    found: list[LayerResult] = []
    for layer, encoding in settings.layers.items():
        cache, bits = caches[layer], (encoding.key_bits, encoding.value_bits)
        exact = _ELEMENT_BYTES * cache.kv_heads * (cache.head_dim + cache.value_dim)
        if layer in elements:
            keys, values = survivors(encoding, elements[layer])
            shares = float(keys.mean()), float(values.mean()), float(np.concatenate((keys, values), axis=1).mean())
            found.append(
                LayerResult(layer, *bits, *encoding.thresholds, *shares, record_bytes(keys, values, *bits), exact)
            )
        else:
            size = stored(cache, tokens).bits / 8 / tokens
            found.append(LayerResult(layer, *bits, None, None, None, None, None, size, exact))
    return tuple(found)
