"""Thresholds for pruning keys and values, found on a text: the magnitudes below which a share of each layer lies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import InputError, Port, Program
from passes import Graph, KVCompression, KvSpecification, PruningClause, compressible, interpret, pruning_clause
from pimc.evaluation.window_run import negative_log_likelihood
from pimc.evaluation.windows import Windows
from pimc.generation import logits_port, token_input
from pimc.model_inputs import with_defaults

Array = NDArray[Any]
Rounding = Callable[[Array], Array]

_HIGHEST_SPARSITY = 0.95
_SEARCH_STEPS = 6
_ELEMENT_BYTES = 2
SEARCH_RUNS = _SEARCH_STEPS + 2
"""Evaluations of a search."""


@dataclass(frozen=True)
class Model:
    """A language model that is evaluated with numpy.

    Attributes:
        graph: As the passes left it, with exact caches.
        program: Compiled from it.
        stored: What storing keys and values does to them.
    """

    graph: Graph
    program: Program
    stored: Rounding

    def inputs(self, tokens: Array) -> dict[str, Array]:
        """Arrays for a window that begins with an empty cache."""
        port: Port = token_input(self.program)
        given = with_defaults(self.program.ports, {port.name: tokens.astype(port.dtype)[None]})
        names = {value.name for value in self.graph.inputs}
        return {name: array for name, array in given.items() if name in names}


@dataclass
class Elements:
    """Keys and values of one layer over a text.

    Attributes:
        keys: [tokens, channels], a block for each window.
        values: The same of the values.
    """

    keys: list[Array] = field(default_factory=list[Array])
    values: list[Array] = field(default_factory=list[Array])


@dataclass(frozen=True)
class LayerThresholds:
    """What was found for one layer.

    Attributes:
        layer: Its number.
        key_threshold: Magnitude below which keys are pruned.
        value_threshold: The same for values.
        key_survivors: Share of the keys' elements that survive, as measured.
        value_survivors: The same for values.
        survivors: Share of all elements.
        bytes_per_token: Mean size of a token's record.
        exact_bytes_per_token: Size of its keys and values in bfloat16.
    """

    layer: int
    key_threshold: float
    value_threshold: float
    key_survivors: float
    value_survivors: float
    survivors: float
    bytes_per_token: float
    exact_bytes_per_token: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return dict(vars(self))


@dataclass(frozen=True)
class Calibration:
    """Thresholds of all layers.

    Attributes:
        sparsity: Share of elements that was to be pruned.
        layers: Of the layers that prune.
        specification: For `--kv`, a clause a layer.
        perplexity: With this specification over the text, `None` when it was not asked for.
        exact_perplexity: Without compression.
    """

    sparsity: float
    layers: tuple[LayerThresholds, ...]
    specification: str
    perplexity: float | None = None
    exact_perplexity: float | None = None


def rounding(numerics: str) -> Rounding:
    """What storing does to elements under `machine` or `fp32` numerics."""
    return _bfloat16 if numerics == "machine" else _as_it_is


def _bfloat16(x: Array) -> Array:
    from ml_dtypes import bfloat16

    return x.astype(bfloat16).astype(np.float32)


def _as_it_is(x: Array) -> Array:
    return x


def collect(model: Model, windows: Windows, stepped: Callable[[int], None]) -> list[Elements]:
    """Exact keys and values of every layer over a text, as they are stored.

    Args:
        model: The model.
        windows: The text.
        stepped: Called with the number of tokens after every window.
    """
    nodes = compressible(model.graph)
    wanted = [node.operand(position) for node in nodes for position in (1, 2)]
    found = [Elements() for _ in nodes]
    for number in range(windows.count):
        tokens = windows.window(number)
        arrays = interpret(model.graph, model.inputs(tokens), wanted=wanted)
        for node, layer in zip(nodes, found, strict=True):
            for position, part in ((1, layer.keys), (2, layer.values)):
                array = arrays[node.operand(position).name].astype(np.float32)
                part.append(np.abs(model.stored(array)).reshape(len(tokens), -1))
        stepped(len(tokens))
    return found


def calibrate(specification: KvSpecification, elements: Sequence[Elements], sparsity: float) -> Calibration:
    """Thresholds that prune a share of each layer's keys, and the same share of its values.

    Args:
        specification: Policies so far; layers whose policies do not prune keep them.
        elements: Magnitudes of every layer.
        sparsity: Share to prune, at least 0 and below 1.

    Raises:
        InputError: no layer's policies prune.
    """
    layers: list[LayerThresholds] = []
    clauses: list[str] = []
    for number, layer in enumerate(elements):
        keys, values = np.concatenate(layer.keys), np.concatenate(layer.values)
        bounds = threshold(keys, sparsity), threshold(values, sparsity)
        survives = keys >= np.float32(bounds[0]), values >= np.float32(bounds[1])
        share = float(np.concatenate(survives, axis=1).mean())
        clause = pruning_clause(specification, number, *bounds, survivors=float(f"{share:.4f}"))
        if clause is None:
            continue
        clauses.append(clause.text)
        shares = (float(survives[0].mean()), float(survives[1].mean()), share)
        size, record = _ELEMENT_BYTES * (keys.shape[1] + values.shape[1]), _record_bytes(clause, *survives)
        layers.append(LayerThresholds(number, *bounds, *shares, record, size))
    if not layers:
        raise InputError(
            "no layer prunes keys and values, so that there is nothing to calibrate",
            help="give --kv cpq, with its bits: cpq:bits_k=4,bits_v=4",
        )
    others = [specification.text] if len(layers) < len(elements) else []
    return Calibration(sparsity, tuple(layers), " ;\n".join([*others, *clauses]))


def threshold(magnitudes: Array, sparsity: float) -> float:
    """The magnitude below which a share of the elements lies, in six digits, which specifications have."""
    rank = round(sparsity * magnitudes.size)
    if rank == 0:
        return 0.0
    return float(f"{np.partition(magnitudes, rank, axis=None)[rank]:.6g}")


def _record_bytes(clause: PruningClause, keys: Array, values: Array) -> float:
    """Mean bytes of the records of tokens whose elements survive as given: bitmap, level bits, codes."""
    first, second = keys.sum(1), values.sum(1)
    codes = -(-(first * clause.key_bits + second * clause.value_bits) // 8)
    bitmap: int = -(-(keys.shape[1] + values.shape[1]) // 8)
    return bitmap + float((-(-(first + second) // 8) + codes).mean())


def perplexity(model: Model, windows: Windows, kv: str, stepped: Callable[[int], None]) -> float:
    """Perplexity of the model with compressed caches, evaluated with numpy.

    Args:
        model: The model; its graph's caches have these policies behind the call.
        windows: The text.
        kv: Specification of the policies.
        stepped: Called with the number of tokens after every window.
    """
    KVCompression(kv).run(model.graph)
    name, loss, scored = logits_port(model.program).name, 0.0, 0
    for number in range(windows.count):
        tokens = windows.window(number)
        logits = interpret(model.graph, model.inputs(tokens), stored=model.stored)[name][0]
        for place in range(windows.first_scored(number), len(tokens)):
            loss += negative_log_likelihood(logits[place - 1], int(tokens[place]))
        scored += windows.scored(number)
        stepped(len(tokens))
    return math.exp(loss / scored)


def search(
    model: Model,
    windows: Windows,
    specification: KvSpecification,
    elements: Sequence[Elements],
    growth: float,
    stepped: Callable[[int], None],
) -> Calibration:
    """The largest share to prune with which the perplexity grows by no more than a share, found by halving.

    Args:
        model: The model.
        windows: The text.
        specification: Policies so far.
        elements: Magnitudes of every layer.
        growth: Share by which the perplexity may grow.
        stepped: Called with the number of tokens after every window of every evaluation, `SEARCH_RUNS` in all.

    Raises:
        InputError: no layer's policies prune, or without pruning the perplexity grows by more already.
    """
    exact = perplexity(model, windows, "none", stepped)
    least, most = 0.0, _HIGHEST_SPARSITY
    best = _tried(model, windows, calibrate(specification, elements, least), exact, stepped)
    if _growth(best) > growth:
        raise InputError(
            f"without pruning, quantisation alone changes the perplexity by {100 * _growth(best):+.2f} %",
            help="give more bits (cpq:bits_k=6,bits_v=6), or a larger change",
        )
    for _ in range(_SEARCH_STEPS):
        middle = (least + most) / 2
        tried = _tried(model, windows, calibrate(specification, elements, middle), exact, stepped)
        if _growth(tried) <= growth:
            least, best = middle, tried
        else:
            most = middle
    return best


def _tried(
    model: Model, windows: Windows, found: Calibration, exact: float, stepped: Callable[[int], None]
) -> Calibration:
    return replace(found, perplexity=perplexity(model, windows, found.specification, stepped), exact_perplexity=exact)


def _growth(found: Calibration) -> float:
    assert found.perplexity is not None
    assert found.exact_perplexity is not None
    return found.perplexity / found.exact_perplexity - 1
