"""What attention to selected keys loses over a text: the meaning of a policy in numpy, beside attention to all keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import Program
from passes import Graph, SelectionError
from pimc.generation import token_input
from pimc.model_inputs import with_defaults
from pimc.policy_verification import PolicyReference


@dataclass(frozen=True)
class AttentionError:
    """Of one policy over one window.

    Attributes:
        layers: By cache, in the order of layers; empty where nothing selects keys.
    """

    layers: Mapping[str, SelectionError]

    @property
    def total(self) -> SelectionError:
        """Over all layers."""
        return sum(self.layers.values(), SelectionError())

    @property
    def worst(self) -> SelectionError:
        """Of the layer with the largest relative error."""
        return max(self.layers.values(), key=lambda each: each.relative_error, default=SelectionError())

    def to_json(self) -> dict[str, Any]:
        """Shares and errors over all layers, and of each."""
        return {**_json(self.total), "layers": {name: _json(each) for name, each in self.layers.items()}}


def _json(error: SelectionError) -> dict[str, Any]:
    shares = {"recall": error.recall, "weight": error.weight, "relative_error": error.relative_error}
    return {**shares, "queries": error.queries, "narrowed_queries": error.narrowed}


def attention_error(graph: Graph, program: Program, tokens: NDArray[np.int64]) -> AttentionError:
    """Read the tokens with an empty cache, each layer with what the policies of those before it have left.

    Args:
        graph: What the passes left of the model; policies stand in its caches.
        program: The program that was made from it.
        tokens: A window.
    """
    reference, port = PolicyReference(graph, program.numerics), token_input(program)
    reference.run(with_defaults(program.ports, {port.name: tokens[None].astype(port.dtype)}))
    reference.reset()
    return AttentionError(dict(reference.errors))
