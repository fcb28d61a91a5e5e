"""Numbers for the symbols of a graph, found from the shapes of arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from isa import InputError
from passes.dims import Affine, Dim, bind
from passes.interpreter.compression import CompressedCache
from passes.interpreter.operations import Array
from passes.interpreter.selection_error import SelectionError
from passes.ir import Graph, TensorType

Caches = dict[str, tuple[Array, Array] | CompressedCache]
"""Contents of the resident caches by name: keys [B, G, P, D] and values [B, G, P, Dv], or what is kept of them."""


def bind_symbols(
    graph: Graph, inputs: Mapping[str, Array], symbols: Mapping[str, int], caches: Caches | None = None
) -> dict[str, int]:
    """Numbers of the symbols that the shapes of inputs and caches determine, together with `symbols`.

    An absent cache counts as empty.

    Raises:
        InputError: A shape contradicts the signature, or two inputs contradict each other.
    """
    numbers = dict(symbols)
    open_equations: list[tuple[str, Dim, int]] = []
    kinds = {**graph.signature, **{value.name: value.type for value in graph.inputs}}
    for name, array in inputs.items():
        if name not in kinds:
            raise InputError(f"the model has no input '{name}'", notes=[f"inputs: {', '.join(_input_names(graph))}"])
        open_equations += _equations(name, kinds[name], np.asarray(array).shape)
    for cache in graph.caches.values():
        if cache.past_key in graph.signature:
            length = _length(caches[cache.name]) if caches and cache.name in caches else 0
            dim = graph.signature[cache.past_key].shape[2]
            open_equations.append((f"the cache '{cache.name}'", dim, length))
    while open_equations:
        remaining = [equation for equation in open_equations if not _solve(equation, numbers)]
        if len(remaining) == len(open_equations):
            break
        open_equations = remaining
    return numbers


def _length(held: tuple[Array, Array] | CompressedCache) -> int:
    """Tokens of the sequences so far."""
    return held.length if isinstance(held, CompressedCache) else int(held[0].shape[2])


def cached_tokens(caches: Caches) -> int:
    """Tokens of the longest sequence in the caches."""
    return max(map(_length, caches.values()), default=0)


def selection_errors(caches: Caches) -> dict[str, SelectionError]:
    """What selections of keys have lost so far, by cache; caches without a selection are left out."""
    held = {name: each for name, each in caches.items() if isinstance(each, CompressedCache)}
    return {name: each.error for name, each in held.items() if each.error.queries}


def _equations(name: str, kind: TensorType, shape: tuple[int, ...]) -> list[tuple[str, Dim, int]]:
    if len(shape) != kind.rank:
        raise InputError(f"'{name}' has shape {list(shape)}, but the model says {kind}")
    pairs = enumerate(zip(kind.shape, shape, strict=True))
    return [(f"'{name}' axis {axis}", dim, size) for axis, (dim, size) in pairs]


def _solve(equation: tuple[str, Dim, int], numbers: dict[str, int]) -> bool:
    """Use one equation dim == size; returns whether it is settled. A contradiction is an `InputError`."""
    where, dim, size = equation
    left = bind(dim, numbers)
    if isinstance(left, int):
        if left != size:
            known = ", ".join(f"{name} = {number}" for name, number in sorted(numbers.items()))
            raise InputError(
                f"{where} has {size} elements, but must have {dim}" + (f" = {left}" if isinstance(dim, Affine) else ""),
                notes=[known] if known else [],
            )
        return True
    if len(left.terms) != 1:
        return False
    ((name, factor),) = left.terms
    number, remainder = divmod(size - left.constant, factor)
    if remainder or number < 0:
        raise InputError(f"{where} has {size} elements, which '{dim}' cannot be")
    numbers[name] = number
    return True


def _input_names(graph: Graph) -> list[str]:
    pasts = (name for cache in graph.caches.values() for name in (cache.past_key, cache.past_value) if name)
    return [*(value.name for value in graph.inputs), *pasts]
