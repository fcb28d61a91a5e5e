"""Bits of codes for every layer, keys and values apart: the fewest bytes for a perplexity.

All codes begin as wide as they can be. Then the codes of each part (keys or values of a layer) alone are made as narrow
as they can be, and the perplexity is evaluated: d = ln of how it grows is what that part costs. Errors of codes fall by
half with every bit and their effect by a quarter, so a part of b bits costs d 4^(least - b). Steps from one width to
the next narrower one of all parts are ordered by cost for each byte that they save; how many of them can be taken, the
cheapest first, is found by halving with the perplexity evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from isa import InputError
from pimc.calibration.settings import Settings

_LEAST_COST = 1e-9
"""Of a part whose codes happen to improve the perplexity: then bytes decide."""


@dataclass(frozen=True)
class Part:
    """Codes whose bits one parameter gives.

    Attributes:
        layer: The layer.
        parameter: The parameter.
        choices: Bits that it can have, ascending.
        elements: Mean number of codes a token.
    """

    layer: int
    parameter: str
    choices: tuple[int, ...]
    elements: float


@dataclass(frozen=True)
class _Step:
    part: Part
    bits: int
    cost: float
    """For each bit that it saves."""


def widest(settings: Settings) -> Settings:
    """All codes as wide as they can be."""
    for layer, encoding in settings.layers.items():
        settings = settings.with_values(layer, {name: choices[-1] for name, choices in encoding.widths.items()})
    return settings


def parts_of(settings: Settings, codes: Mapping[int, tuple[float, float]]) -> list[Part]:
    """What has a width of its own.

    Args:
        settings: The policies.
        codes: Mean number of codes a token of each layer's keys, and of its values.
    """
    found: list[Part] = []
    for layer, encoding in settings.layers.items():
        keys, values = codes[layer]
        counts = {"bits_k": keys, "bits": keys, "bits_v": values, "value_bits": values}
        found += [Part(layer, name, choices, counts[name]) for name, choices in encoding.widths.items()]
    return found


def search_runs(parts: list[Part]) -> int:
    """How often `narrowest` evaluates at most."""
    return len(parts) + sum(len(part.choices) - 1 for part in parts).bit_length()


def narrowest(
    settings: Settings, parts: list[Part], evaluate: Callable[[Settings], float], perplexity: float, highest: float
) -> tuple[Settings, float]:
    """The settings with the fewest bytes whose perplexity stays below a bound, as the module says.

    Args:
        settings: With the widest codes.
        parts: What can be narrower.
        evaluate: Gives the perplexity; called `search_runs` times at most.
        perplexity: With the widest codes.
        highest: The bound.

    Returns:
        The settings and their perplexity.

    Raises:
        InputError: the perplexity is above the bound with the widest codes.
    """
    if perplexity > highest:
        raise InputError(
            f"the widest codes give a perplexity of {perplexity:.4f} already, and {highest:.4f} is wanted",
            help="give a larger change, or a smaller sparsity",
        )
    steps = _ordered(parts, [_cost(settings, part, evaluate, perplexity) for part in parts])
    least, most, best = 0, len(steps), (settings, perplexity)
    while least < most:
        middle = (least + most + 1) // 2
        tried = _after(settings, steps[:middle])
        found = evaluate(tried)
        if found <= highest:
            least, best = middle, (tried, found)
        else:
            most = middle - 1
    return best


def _cost(settings: Settings, part: Part, evaluate: Callable[[Settings], float], perplexity: float) -> float:
    narrow = settings.with_values(part.layer, {part.parameter: part.choices[0]})
    return max(math.log(evaluate(narrow) / perplexity), _LEAST_COST)


def _ordered(parts: list[Part], costs: list[float]) -> list[_Step]:
    steps: list[_Step] = []
    for part, cost in zip(parts, costs, strict=True):
        least = part.choices[0]
        for narrow, wide in pairwise(part.choices):
            grows = cost * (4.0 ** (least - narrow) - 4.0 ** (least - wide))
            steps.append(_Step(part, narrow, grows / (part.elements * (wide - narrow))))
    return sorted(steps, key=lambda step: step.cost)


def _after(settings: Settings, steps: list[_Step]) -> Settings:
    for step in steps:
        settings = settings.with_values(step.part.layer, {step.part.parameter: step.bits})
    return settings
