"""One window of the text on the simulator: every token is a decode step, as when text is generated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import Program
from pimc.evaluation.costs import Cost, cost_of
from pimc.generation import Decoder, Logits
from pimc.simulator import Session

AVERAGED_STEPS = 32
"""Steps over which the cost at a context is averaged, the one that attends to all of it last: what policies do every
few tokens (write a group, evict) has its share."""


@dataclass(frozen=True)
class WindowResult:
    """What one window gave.

    Attributes:
        loss_nats: Sum of -log p over the scored tokens.
        scored: Number of these.
        tokens: Tokens that were read.
        cache_bytes: Size of the KV cache at the end.
        uncompressed_bytes: What it would be in the machine's element type.
        tokens_kept: Tokens that the cache holds at the end.
        whole: Cost of all steps.
        at_context: Cost of the steps up to each context length that the window reaches.
        survivors: Share of the elements that pruning has left at the end; `None` when nothing is pruned.
        levels: Open levels of quantisation at the end, over all channels and layers.
    """

    loss_nats: float
    scored: int
    tokens: int
    cache_bytes: int
    uncompressed_bytes: int
    tokens_kept: int
    whole: Cost
    at_context: Mapping[int, Cost]
    survivors: float | None = None
    levels: int = 0

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        plain = {name: value for name, value in vars(self).items() if name not in ("whole", "at_context")}
        costs = {str(context): cost.to_json() for context, cost in self.at_context.items()}
        return {**plain, "whole": self.whole.to_json(), "at_context": costs}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> WindowResult:
        """Read what `to_json` wrote."""
        costs = {int(context): Cost.from_json(cost) for context, cost in values["at_context"].items()}
        return cls(**{**values, "whole": Cost.from_json(values["whole"]), "at_context": costs})


def run_window(
    program: Program,
    session: Session,
    tokens: NDArray[np.int64],
    first_scored: int,
    contexts: Sequence[int],
    stepped: Callable[[], None],
) -> WindowResult:
    """Read the tokens of a window one by one.

    Args:
        program: A language model with a KV cache.
        session: The program, loaded.
        tokens: The window.
        first_scored: Place of the first token that is scored.
        contexts: Lengths at which costs are wanted; those beyond the window are passed over.
        stepped: Called after every step.

    Raises:
        UnsupportedError: the model has no KV cache or no logits.
        ResourceLimitError: the window does not fit the program.
    """
    decoder = Decoder(program, session)
    loss, costs = 0.0, []
    for place, token in enumerate(tokens):
        logits = decoder.step([int(token)])
        costs.append(cost_of(session.statistics))
        if first_scored <= place + 1 < len(tokens):
            loss += negative_log_likelihood(logits, int(tokens[place + 1]))
        stepped()
    cache = session.statistics.cache
    return WindowResult(
        loss_nats=loss,
        scored=len(tokens) - first_scored,
        tokens=len(tokens),
        cache_bytes=cache.bytes,
        uncompressed_bytes=cache.uncompressed_bytes,
        tokens_kept=cache.tokens_kept,
        whole=summed(costs),
        survivors=cache.survivors,
        levels=cache.levels,
        at_context={n: summed(costs[max(n - AVERAGED_STEPS, 0) : n]) for n in contexts if n <= len(tokens)},
    )


def summed(costs: Sequence[Cost]) -> Cost:
    """The sum of at least one cost."""
    first, *rest = costs
    for cost in rest:
        first = first + cost
    return first


def negative_log_likelihood(logits: Logits, token: int) -> float:
    """-log softmax(logits)[token] in nats, in binary64."""
    values = logits.astype(np.float64)
    largest = values.max()
    return float(largest + np.log(np.exp(values - largest).sum()) - values[token])
