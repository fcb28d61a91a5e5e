"""A language model that is evaluated with numpy: the keys and values that it keeps, and its perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import Port, Program
from passes import Cache, Graph, KVCompression, compressible, interpret
from pimc.evaluation.window_run import negative_log_likelihood
from pimc.evaluation.windows import Windows
from pimc.generation import logits_port, token_input
from pimc.model_inputs import with_defaults

Array = NDArray[Any]
Rounding = Callable[[Array], Array]

Stepped = Callable[[int, str], None]
"""Gets the number of tokens that were read since the last call, and what is being done."""


@dataclass(frozen=True)
class Model:
    """A language model.

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

    def caches(self, kv: str) -> list[Cache]:
        """The caches that policies count as layers, with these policies; they stay so."""
        KVCompression(kv).run(self.graph)
        return [self.graph.caches[node.attributes["cache"]] for node in compressible(self.graph)]


@dataclass(frozen=True)
class Elements:
    """Magnitudes of the keys and values of one layer over a text, as they are stored.

    Attributes:
        keys: [tokens, channels].
        values: The same of the values.
    """

    keys: Array
    values: Array


def collect(model: Model, windows: Windows, layers: Iterable[int], stepped: Stepped) -> dict[int, Elements]:
    """Exact keys and values of layers over a text.

    Args:
        model: The model.
        windows: The text.
        layers: Numbers of the layers.
        stepped: Called after every window.
    """
    nodes = compressible(model.graph)
    wanted = {layer: [nodes[layer].operand(position) for position in (1, 2)] for layer in layers}
    flat = [value for pair in wanted.values() for value in pair]
    blocks: dict[str, list[Array]] = {value.name: [] for value in flat}
    for number in range(windows.count):
        tokens = windows.window(number)
        arrays = interpret(model.graph, model.inputs(tokens), wanted=flat)
        for name, found in blocks.items():
            found.append(np.abs(model.stored(arrays[name].astype(np.float32))).reshape(len(tokens), -1))
        stepped(len(tokens), "exact keys and values")
    return {layer: Elements(*(np.concatenate(blocks[value.name]) for value in pair)) for layer, pair in wanted.items()}


def perplexity(model: Model, windows: Windows, kv: str, stepped: Stepped) -> float:
    """Perplexity of the model with compressed caches.

    Args:
        model: The model; its graph's caches have these policies behind the call.
        windows: The text.
        kv: Specification of the policies.
        stepped: Called after every window.
    """
    model.caches(kv)
    name, loss, scored = logits_port(model.program).name, 0.0, 0
    for number in range(windows.count):
        tokens = windows.window(number)
        logits = interpret(model.graph, model.inputs(tokens), stored=model.stored)[name][0]
        for place in range(windows.first_scored(number), len(tokens)):
            loss += negative_log_likelihood(logits[place - 1], int(tokens[place]))
        scored += windows.scored(number)
        stepped(len(tokens), "perplexity")
    return math.exp(loss / scored)
