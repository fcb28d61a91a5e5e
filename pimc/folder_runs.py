"""Inputs for the entries of a program of several models, one run after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import InputError, Program
from pimc.model_inputs import Step, is_mask, seeded_array, shape_with

Array = NDArray[Any]
Run = tuple[str, dict[str, Array]]
"""An entry and its inputs, without those that earlier entries leave."""


@dataclass(frozen=True)
class Case:
    """A text to read and one to write.

    Attributes:
        encoded: Tokens that the encoder reads, where their number is free.
        prompt: Tokens that the decoder begins with.
        decoded: Tokens that it reads after these, one by one.
        padding: Tokens at the end of the last sequence that a mask excludes.
    """

    encoded: int
    prompt: int
    decoded: int
    padding: int = 0

    def __str__(self) -> str:
        """One line about it."""
        masked = f", the last {self.padding} masked out" if self.padding else ""
        return f"{self.encoded} encoded{masked}, {self.prompt} prompted, then {self.decoded} decoded"


def given_runs(program: Program, inputs: Mapping[str, Array]) -> list[Run]:
    """One run of each entry that has inputs, in order.

    Raises:
        InputError: a name is not `ENTRY/NAME` with an entry of the program.
    """
    runs: dict[str, dict[str, Array]] = {entry: {} for entry in program.stages}
    for name, array in inputs.items():
        entry, slash, own = name.partition("/")
        if not slash or entry not in runs:
            raise InputError(
                f"'{name}' is not an input of an entry",
                notes=[f"the entries are {', '.join(runs)}"],
                help=f"name the arrays ENTRY/NAME, as '{next(iter(runs))}/{name.rpartition('/')[2]}'",
            )
        runs[entry][own] = array
    return [(entry, arrays) for entry, arrays in runs.items() if arrays]


def seeded_runs(program: Program, case: Case, generator: np.random.Generator) -> Iterator[Run]:
    """The runs of a case with seeded token numbers; masks of the encoder's tokens are the same in all of them."""
    encoder = program.part("encode")
    symbols: Mapping[str, str] = encoder.metadata["symbols"]
    sizes = dict.fromkeys(symbols, case.encoded)
    yield "encode", _seeded(encoder, sizes, case, generator)
    output = next(port for port in encoder.ports if port.direction == "output")
    steps = [("prefill", case.prompt, 0)] + [("decode", 1, case.prompt + step) for step in range(case.decoded)]
    for entry, tokens, past in steps:
        part = program.part(entry)
        registers: Mapping[str, str] = part.metadata["symbols"]
        counted = {"token_count": tokens, "kv_length": past}
        read = output.shape[-2] if isinstance(output.shape[-2], int) else case.encoded
        sizes = {symbol: counted.get(register, int(read)) for symbol, register in registers.items()}
        yield entry, _seeded(part, sizes, case, generator)


def _seeded(part: Program, sizes: Mapping[str, int], case: Case, generator: np.random.Generator) -> dict[str, Array]:
    made: dict[str, Array] = {}
    symbols: Mapping[str, str] = part.metadata["symbols"]
    past = next((sizes[name] for name, register in symbols.items() if register == "kv_length"), 0)
    for port in part.ports:
        if port.direction == "output" or port.filled_by or port.kind in ("past", "given"):
            continue
        step = Step(1, past)
        made[port.name] = seeded_array(port, shape_with(port, sizes), step, generator, part.metadata["table_rows"])
        if is_mask(port) and made[port.name].shape[-1] == case.encoded and case.padding:
            made[port.name][-1, -case.padding :] = 0
    return made
