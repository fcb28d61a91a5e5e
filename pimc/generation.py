"""Text generation, token by token, with the time and energy that the machine takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isa import Port, Program, UnsupportedError
from pimc.model_inputs import has_cache

if TYPE_CHECKING:
    from pimc.simulator import Session, Statistics

Logits = NDArray[np.float32]
Choice = Callable[[Logits], int]
"""Picks the next token from its logits [vocabulary]."""


class Steps(Protocol):
    """A language model that takes tokens step by step.

    Attributes:
        prefill: What the first tokens took; `None` before the first step.
        decode: What all further ones took; `None` before the second step.
    """

    prefill: Statistics | None
    decode: Statistics | None

    def step(self, tokens: Sequence[int]) -> Logits:
        """Append tokens and return the logits [vocabulary] of what follows the last one."""
        ...


class EncoderDecoder:
    """A program of an encoder and its decoders on the simulator; it writes while it attends to what the encoder read.

    Attributes:
        prefill: What the encoder and the first tokens took; `None` before the first step.
        decode: What all further ones took; `None` before the second step.
    """

    def __init__(self, program: Program, session: Session, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Encode.

        Args:
            program: The program of a folder.
            session: The program, loaded into the simulator.
            inputs: Arrays by input name of the encoder, for one sequence.

        Raises:
            InputError: the inputs are not those of the encoder.
            ResourceLimitError: they do not fit the program.
            UnsupportedError: the decoder has no logits, or reads more than one sequence.
        """
        self._session = session
        self._parts = {entry: program.part(entry) for entry in ("prefill", "decode")}
        self._logits = {entry: logits_port(part).name for entry, part in self._parts.items()}
        self._tokens = {entry: token_input(part) for entry, part in self._parts.items()}
        if self._tokens["decode"].shape[0] != 1:
            raise UnsupportedError("the program decodes several sequences", help="compile for a batch of 1")
        masks = {name: array for name, array in inputs.items() if "mask" in name}
        self._masks = {f"encoder_{name}": array for name, array in masks.items()}
        session.reset()
        session.run(inputs, [], "encode")
        self._encoded = session.statistics
        self.prefill: Statistics | None = None
        self.decode: Statistics | None = None

    def step(self, tokens: Sequence[int]) -> Logits:
        """Append tokens and return the logits [vocabulary] of what follows the last one.

        Raises:
            ResourceLimitError: the cache cannot hold them.
        """
        entry = "prefill" if self.prefill is None else "decode"
        taken, port = self._parts[entry], self._tokens[entry]
        known = {each.name for each in taken.ports if each.direction == "input"}
        arrays = {name: array for name, array in self._masks.items() if name in known}
        arrays[port.name] = np.asarray(tokens, port.dtype).reshape(1, -1)
        name = self._logits[entry]
        logits = self._session.run(arrays, [name], entry, last_only=True)[name]
        cost = self._session.statistics
        if self.prefill is None:
            self.prefill = self._encoded + cost
        else:
            self.decode = cost if self.decode is None else self.decode + cost
        last: Logits = logits.reshape(-1, logits.shape[-1])[-1]
        return last


def token_input(part: Program) -> Port:
    """The input of an entry that takes token numbers.

    Raises:
        UnsupportedError: there is none.
    """
    for port in part.ports:
        is_given = port.direction == "input" and port.kind != "ignored" and "mask" not in port.name
        if is_given and np.dtype(port.dtype).kind in "iu" and len(port.shape) == 2 and "position" not in port.name:
            return port
    entries = ", ".join(part.entries)
    raise UnsupportedError(f"the entry '{entries}' has no input of token numbers", help="give its inputs as arrays: -i")


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
        self._logits = logits_port(program).name
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
    decoder: Steps, prompt: Sequence[int], count: int, choose: Choice, end_tokens: Collection[int] = ()
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


def logits_port(program: Program) -> Port:
    """The output that holds one row of logits for each token.

    Raises:
        UnsupportedError: there is none, or it is not clear which.
    """
    candidates = [port for port in program.ports if port.direction == "output" and port.kind != "present"]
    named = [port for port in candidates if "logits" in port.name.lower()]
    if not named and len(candidates) != 1:
        listed = ", ".join(port.name for port in candidates) or "none"
        raise UnsupportedError("the model has no output called logits", notes=[f"its outputs: {listed}"])
    return (named or candidates)[0]
