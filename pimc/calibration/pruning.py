"""Thresholds for pruning keys and values: the magnitudes below which a share of each layer lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from isa import InputError
from passes import LayerEncoding
from pimc.calibration.model import Array, Elements
from pimc.calibration.settings import Settings

_HIGHEST_SPARSITY = 0.95
_STEPS = 6
SEARCH_RUNS = _STEPS + 1
"""Evaluations of `most_pruned`."""


def pruned(settings: Settings, elements: Mapping[int, Elements], sparsity: float) -> Settings:
    """Thresholds that prune a share of each layer's keys, and the same share of its values.

    Args:
        settings: Policies so far.
        elements: Of the layers that prune.
        sparsity: Share to prune, at least 0 and below 1.
    """
    for layer, each in elements.items():
        found = {"tau_k": threshold(each.keys, sparsity), "tau_v": threshold(each.values, sparsity)}
        settings = settings.with_values(layer, found)
        left = np.concatenate(survivors(settings.layers[layer], each), axis=1)
        settings = settings.with_values(layer, {"survivors": float(f"{left.mean():.4f}")})
    return settings


def threshold(magnitudes: Array, sparsity: float) -> float:
    """The magnitude below which a share of the elements lies, in six digits, which specifications have."""
    rank = round(sparsity * magnitudes.size)
    if rank == 0:
        return 0.0
    return float(f"{np.partition(magnitudes, rank, axis=None)[rank]:.6g}")


def survivors(encoding: LayerEncoding, elements: Elements) -> tuple[Array, Array]:
    """Which keys and which values the thresholds of a layer leave: bool, in the shapes of the elements."""
    key_threshold, value_threshold = encoding.thresholds
    return elements.keys >= np.float32(key_threshold), elements.values >= np.float32(value_threshold)


def record_bytes(keys: Array, values: Array, key_bits: int, value_bits: int) -> float:
    """Mean bytes of the records of tokens whose elements survive as given: bitmap, level bits, codes."""
    first, second = keys.sum(1), values.sum(1)
    codes = -(-(first * key_bits + second * value_bits) // 8)
    bitmap: int = -(-(keys.shape[1] + values.shape[1]) // 8)
    return bitmap + float((-(-(first + second) // 8) + codes).mean())


def most_pruned(
    settings: Settings, elements: Mapping[int, Elements], evaluate: Callable[[Settings], float], highest: float
) -> tuple[float, Settings, float]:
    """The largest share to prune with which the perplexity stays below a bound, found by halving.

    Args:
        settings: Policies so far.
        elements: Of the layers that prune.
        evaluate: Gives the perplexity; called `SEARCH_RUNS` times.
        highest: The bound.

    Returns:
        The share, the settings, and their perplexity.

    Raises:
        InputError: without pruning the perplexity is above the bound already.
    """
    least, most = 0.0, _HIGHEST_SPARSITY
    best = pruned(settings, elements, least)
    perplexity = evaluate(best)
    if perplexity > highest:
        raise InputError(
            f"without pruning, the codes alone give a perplexity of {perplexity:.4f}, and {highest:.4f} is wanted",
            help="give more bits (cpq:bits_k=6,bits_v=6), or a larger change",
        )
    for _ in range(_STEPS):
        middle = (least + most) / 2
        tried = pruned(settings, elements, middle)
        found = evaluate(tried)
        if found <= highest:
            least, best, perplexity = middle, tried, found
        else:
            most = middle
    return least, best, perplexity
