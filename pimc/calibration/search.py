"""The search for thresholds and bits: what stays, what is tried, and how often the text is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from isa import InputError
from passes import Compression, KvSpecification, compressible, first_effect
from pimc.calibration.model import Elements, Model, Stepped, collect, perplexity
from pimc.calibration.pruning import SEARCH_RUNS, most_pruned, pruned, survivors
from pimc.calibration.results import Calibration, layer_results
from pimc.calibration.settings import Settings, settings_of
from pimc.calibration.widths import narrowest, parts_of, search_runs, widest
from pimc.evaluation.windows import Windows


@dataclass(frozen=True)
class Goal:
    """What is wanted.

    Attributes:
        sparsity: Share of elements to prune; `None` prunes as many as `growth` allows.
        growth: Share by which the perplexity may grow; `None` when only pruning is wanted.
        bits: Whether bits of codes are to be found, too; that needs `growth`.
    """

    sparsity: float | None
    growth: float | None = None
    bits: bool = False


@dataclass(frozen=True)
class Task:
    """A model, a text, and what is to be found.

    Attributes:
        model: The model.
        windows: The text.
        goal: What is wanted.
        settings: Policies so far, of the layers that are looked at.
    """

    model: Model
    windows: Windows
    goal: Goal
    settings: Settings

    @property
    def pruning(self) -> list[int]:
        """The layers that prune."""
        return [layer for layer, each in self.settings.layers.items() if each.prunes]

    @property
    def tokens(self) -> int:
        """Tokens that are read at most, over all evaluations."""
        runs = int(bool(self.pruning))
        if self.goal.growth is not None:
            runs += 1 + (SEARCH_RUNS if self.goal.sparsity is None and self.pruning else 1)
        if self.goal.bits:
            runs += search_runs(parts_of(self.settings, dict.fromkeys(self.settings.layers, (1.0, 1.0))))
        return runs * self.windows.count * self.windows.size


def task_of(model: Model, windows: Windows, specification: KvSpecification, goal: Goal) -> Task:
    """Look at what there is to find.

    Args:
        model: The model.
        windows: The text.
        specification: Policies so far; what is not looked for stays as it is.
        goal: What is wanted.

    Raises:
        InputError: no layer has what is looked for, its shape does not allow the policies, or they do nothing within a
            window.
    """
    caches = model.caches(specification.text)
    settings = settings_of(specification, len(compressible(model.graph)))
    acting = [cache.compression is not None for cache in caches]  # layers with windows of their own do not
    prunes = {layer: each for layer, each in settings.layers.items() if each.prunes and acting[layer]}
    if not prunes and (not goal.bits or goal.sparsity is not None):
        raise InputError(
            "no layer prunes keys and values, so that there is nothing to calibrate",
            help="give --kv cpq, with its bits: cpq:bits_k=4,bits_v=4; --bits finds those of cpq, kivi and int",
        )
    wanted = {layer: each for layer, each in settings.layers.items() if acting[layer]} if goal.bits else prunes
    if not wanted:
        raise InputError("no layer has codes whose bits could be found", help="give --kv cpq, kivi or int")
    if goal.growth is not None:
        encodings = [each.compression.encoding for each in caches if each.compression]
        _check_effect([first_effect(Compression(encoding=each)) for each in encodings if each], windows.size)
    others = specification.text if len(wanted) < len(caches) else ""
    return Task(model, windows, goal, replace(settings, text=others, layers=wanted))


def _check_effect(first: list[int], window: int) -> None:
    if min(first) > window:
        raise InputError(
            f"within a window of {window} tokens the policies change nothing",
            notes=[f"the first of them acts from token {min(first)} on"],
            help=f"give --window {2 * min(first)}",
        )


def solve(task: Task, stepped: Stepped) -> Calibration:
    """Read the text as often as it takes.

    Args:
        task: What is to be found.
        stepped: Called after every window of every evaluation.

    Raises:
        InputError: the perplexity grows by more than wanted, whatever is chosen.
    """
    model, windows, goal = task.model, task.windows, task.goal
    model.caches("none")
    elements = collect(model, windows, task.pruning, stepped) if task.pruning else {}
    if goal.growth is None:
        assert goal.sparsity is not None
        return _result(task, pruned(task.settings, elements, goal.sparsity), elements, goal.sparsity)
    exact = perplexity(model, windows, "none", stepped)

    def evaluate(settings: Settings) -> float:
        return perplexity(model, windows, settings.specification, stepped)

    sparsity, settings, found = _with_thresholds(task, elements, evaluate, exact)
    if goal.bits:
        parts = parts_of(settings, _codes(task, settings, elements))
        settings, found = narrowest(settings, parts, evaluate, found, exact * (1 + goal.growth))
    return replace(_result(task, settings, elements, sparsity), perplexity=found, exact_perplexity=exact)


def _with_thresholds(
    task: Task, elements: Mapping[int, Elements], evaluate: Callable[[Settings], float], exact: float
) -> tuple[float | None, Settings, float]:
    """The share that is pruned, the settings and their perplexity; bits are left half of the growth."""
    goal, settings = task.goal, widest(task.settings) if task.goal.bits else task.settings
    if elements and goal.sparsity is None:
        growth = (goal.growth or 0) * (0.5 if goal.bits else 1)
        return most_pruned(settings, elements, evaluate, exact * (1 + growth))
    if goal.sparsity is not None:
        settings = pruned(settings, elements, goal.sparsity)
    return goal.sparsity, settings, evaluate(settings)


def _codes(task: Task, settings: Settings, elements: Mapping[int, Elements]) -> dict[int, tuple[float, float]]:
    """Mean number of codes a token of each layer's keys, and of its values."""
    caches = task.model.caches(settings.specification)
    found: dict[int, tuple[float, float]] = {}
    for layer, encoding in settings.layers.items():
        heads, widths = caches[layer].kv_heads, (caches[layer].head_dim, caches[layer].value_dim)
        shares = 1.0, 1.0
        if layer in elements:
            keys, values = survivors(encoding, elements[layer])
            shares = float(np.mean(keys)), float(np.mean(values))
        found[layer] = heads * widths[0] * shares[0], heads * widths[1] * shares[1]
    return found


def _result(task: Task, settings: Settings, elements: Mapping[int, Elements], sparsity: float | None) -> Calibration:
    text = settings.specification
    layers = layer_results(settings, elements, task.model.caches(text), task.windows.size)
    return Calibration(sparsity, layers, text)
