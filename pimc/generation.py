"""Text generation, token by token, with the time and energy that the machine takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isa import Port, Program, UnsupportedError
from pimc.model_inputs import has_cache

if TYPE_CHECKING:
    from pimc.simulator import Session, Statistics

Logits = NDArray[np.float32]
Choice = Callable[[Logits], int]
"""Picks the next token from its logits [vocabulary]."""


class Decoder:
    """A language model on the simulator that keeps its KV cache from step to step.

    Attributes:
        prefill: What the first tokens took; `None` before the first step.
        decode: What all further ones took; `None` before the second step.
    """

    def __init__(self, program: Program, session: Session) -> None:
        """Start with an empty cache.

        Raises:
            UnsupportedError: the model has no KV cache or no logits.
        """
        if not has_cache(program.ports):
            raise UnsupportedError("the model has no KV cache", help="export it with past keys and values")
        self._session = session
        self._logits = _logits_port(program).name
        session.reset()
        self.prefill: Statistics | None = None
        self.decode: Statistics | None = None

    def step(self, tokens: Sequence[int]) -> Logits:
        """Append tokens and return the logits [vocabulary] of what follows the last one.

        Raises:
            ResourceLimitError: the cache cannot hold them.
        """
        logits = self._session.step(tokens, [self._logits])[self._logits]
        taken = self._session.statistics
        if self.prefill is None:
            self.prefill = taken
        else:
            self.decode = taken if self.decode is None else self.decode + taken
        last: Logits = logits.reshape(-1, logits.shape[-1])[-1]
        return last


def generate(
    decoder: Decoder, prompt: Sequence[int], count: int, choose: Choice, end_tokens: Collection[int] = ()
) -> Iterator[int]:
    """Up to `count` tokens that follow the prompt; stops before an end token."""
    logits = decoder.step(prompt)
    for number in range(count):
        token = choose(logits)
        if token in end_tokens:
            return
        yield token
        if number + 1 < count:
            logits = decoder.step([token])


def likeliest(logits: Logits) -> int:
    """The token with the largest logit, the first of equals."""
    return int(np.argmax(logits))


def sampler(temperature: float, seed: int) -> Choice:
    """Draws tokens with probability softmax(logits / temperature)."""
    generator = np.random.default_rng(seed)

    def choose(logits: Logits) -> int:
        scaled = logits.astype(np.float64) / temperature
        weights = np.exp(scaled - scaled.max())
        return int(generator.choice(len(weights), p=weights / weights.sum()))

    return choose


def _logits_port(program: Program) -> Port:
    """The output that holds one row of logits for each token."""
    candidates = [port for port in program.ports if port.direction == "output" and port.kind != "present"]
    named = [port for port in candidates if "logits" in port.name.lower()]
    if not named and len(candidates) != 1:
        listed = ", ".join(port.name for port in candidates) or "none"
        raise UnsupportedError("the model has no output called logits", notes=[f"its outputs: {listed}"])
    return (named or candidates)[0]
