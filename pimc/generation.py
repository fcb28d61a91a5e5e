"""Text generation, token by token, with the time and energy that the machine takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa import Port, Program, UnsupportedError
from pimc.model_inputs import has_cache
from pimc.simulator import Session, Statistics

Logits = NDArray[np.float32]
Choice = Callable[[Logits], int]
"""Picks the next token from its logits [vocabulary]."""


@dataclass(frozen=True)
class Phase:
    """Work of one kind: reading the prompt, or generating.

    Attributes:
        tokens: Tokens that went through the model.
        cycles: Time of the machine in cycles.
        time_s: The same in seconds.
        energy_j: Energy of the machine.
    """

    tokens: int = 0
    cycles: int = 0
    time_s: float = 0.0
    energy_j: float = 0.0

    def plus(self, statistics: Statistics, tokens: int) -> Phase:
        """This and one more run of `tokens` tokens."""
        return Phase(
            self.tokens + tokens,
            self.cycles + statistics.cycles,
            self.time_s + statistics.time_s,
            self.energy_j + statistics.energy_j,
        )

    @property
    def tokens_per_s(self) -> float:
        """Tokens that the machine takes in a second."""
        return self.tokens / self.time_s if self.time_s else 0.0

    @property
    def joules_per_token(self) -> float:
        """Energy of a token."""
        return self.energy_j / self.tokens if self.tokens else 0.0


class Decoder:
    """A language model on the simulator that keeps its KV cache from step to step.

    Attributes:
        prefill: Work on the first tokens.
        decode: Work on all further ones.
        past: Tokens in the cache.
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
        self.prefill = self.decode = Phase()
        self.past = 0

    def step(self, tokens: Sequence[int]) -> Logits:
        """Append tokens and return the logits [vocabulary] of what follows the last one.

        Raises:
            ResourceLimitError: the cache cannot hold them.
        """
        logits = self._session.step(tokens, [self._logits])[self._logits]
        if self.past == 0:
            self.prefill = self.prefill.plus(self._session.statistics, len(tokens))
        else:
            self.decode = self.decode.plus(self._session.statistics, len(tokens))
        self.past += len(tokens)
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
