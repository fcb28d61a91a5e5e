"""Prompts longer than a run of a folder's decoder: the first tokens in `prefill`, the others one by one in `decode`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import Port, Program, ResourceLimitError
from passes import Affine, parse_dim
from pimc.simulator.host.inputs import Request, input_ports, output_ports

Array = NDArray[Any]


@dataclass(frozen=True)
class Piece:
    """One run of a prompt that is cut.

    Attributes:
        entry: `prefill` or `decode`.
        arrays: By ONNX input name.
        outputs: Names of the outputs that this run gives.
    """

    entry: str
    arrays: Mapping[str, Array]
    outputs: tuple[str, ...]


def is_too_long(part: Program, entry: str | None, tokens: int) -> bool:
    """Whether a prompt is longer than one run of the decoder's first entry, which begins with an empty cache."""
    is_prompt = entry == "prefill" and "first_output" not in part.entries[entry].registers
    return is_prompt and tokens > int(part.metadata["chunk"])


def prompt_pieces(program: Program, request: Request, wanted: Sequence[str], last_only: bool) -> Iterator[Piece]:
    """The runs of a prompt that `is_too_long`.

    Args:
        program: A program with the entries `prefill` and `decode`.
        request: What the run of `prefill` was asked for.
        wanted: Names of the outputs.
        last_only: Whether outputs of tokens are wanted for the last token only.

    Raises:
        ResourceLimitError: an output of every token is wanted that only `prefill` has.
    """
    first, later = program.part("prefill"), program.part("decode")
    chunk, returned = int(first.metadata["chunk"]), output_ports(later)
    counted = [name for name in wanted if _token_axis(first, output_ports(first)[name]) is not None]
    only_first = [name for name in counted if name not in returned]
    if only_first:
        raise ResourceLimitError(
            "the prompt is too long for an output that 'decode' does not have",
            notes=[f"'{name}'" for name in only_first] + [f"demand: {request.tokens} tokens", f"bound: {chunk} tokens"],
            help="leave these outputs out, or give a shorter prompt",
        )
    alone = [name for name in wanted if name not in returned]
    yield Piece("prefill", _first_arrays(first, request, chunk), (*alone, *(() if last_only else counted)))
    for place in range(chunk, request.tokens):
        is_last = place + 1 == request.tokens
        kept = returned.keys() if is_last else () if last_only else counted
        yield Piece("decode", _arrays_at(first, later, request, place), tuple(name for name in wanted if name in kept))


def joined(program: Program, wanted: Sequence[str], results: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The outputs of all pieces as one run would have given them: tokens one after another, caches as they are last."""
    part = program.part("prefill")
    outputs: dict[str, Array] = {}
    for name in wanted:
        found, axis = [each[name] for each in results if name in each], _token_axis(part, output_ports(part)[name])
        outputs[name] = found[-1] if axis is None else np.concatenate(found, axis)
    return outputs


def _token_axis(part: Program, port: Port) -> int | None:
    """Axis that runs over the tokens of a prompt; none for what has no such axis and for caches."""
    symbols: Mapping[str, str] = part.metadata["symbols"]
    axes = [axis for axis, dim in enumerate(port.shape) if symbols.get(str(dim)) == "token_count"]
    return axes[0] if axes and port.kind != "present" else None


def _first_arrays(part: Program, request: Request, chunk: int) -> dict[str, Array]:
    ports = input_ports(part)
    axes = {name: _token_axis(part, ports[name]) for name in request.arrays}
    return {
        name: array if (axis := axes[name]) is None else array[(slice(None),) * axis + (slice(chunk),)]
        for name, array in request.arrays.items()
    }


def _arrays_at(first: Program, later: Program, request: Request, place: int) -> dict[str, Array]:
    """The inputs of `decode` for the token at a place; what counts all positions, as masks do, ends with it."""
    given, taken, arrays = input_ports(first), input_ports(later), {}
    registers: Mapping[str, str] = later.metadata["symbols"]
    for name, array in request.arrays.items():
        if name not in taken:
            continue
        axis = _token_axis(first, given[name])
        if axis is not None:
            dim = parse_dim(str(taken[name].shape[axis]))
            symbols = dim.symbols if isinstance(dim, Affine) else ()
            from_start = any(registers.get(symbol) == "kv_length" for symbol in symbols)
            array = array[(slice(None),) * axis + (slice(0 if from_start else place, place + 1),)]
        arrays[name] = array
    return arrays
