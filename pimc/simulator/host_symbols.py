"""Sizes of the model's dynamic dimensions, found from the arrays that are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from isa import InputError, Port
from passes import Affine, bind, parse_dim

Array = NDArray[Any]
Symbols = Mapping[str, int]


def bind_symbols(ports: Mapping[str, Port], arrays: Mapping[str, Array], known: Symbols) -> dict[str, int]:
    """Sizes of the symbols in the shapes of the inputs.

    Args:
        ports: Input ports by name.
        arrays: Given arrays by port name, of the right rank.
        known: Symbols whose size does not come from an array.

    Raises:
        InputError: arrays contradict each other.
    """
    sizes: dict[str, int] = dict(known)
    waiting = list(_equations(ports, arrays))
    problems: list[str] = []
    while waiting:
        rest = []
        for name, dim, size in waiting:
            left = bind(dim, sizes)
            if isinstance(left, int):
                if left != size:
                    problems.append(f"'{name}' has {size} elements where {dim} are {left}")
            elif len(left.terms) == 1 and (size - left.constant) % left.terms[0][1] == 0:
                sizes[left.terms[0][0]] = (size - left.constant) // left.terms[0][1]
            else:
                rest.append((name, dim, size))
        if len(rest) == len(waiting):
            break
        waiting = rest
    if problems:
        raise InputError("the inputs have different lengths", notes=problems[:8])
    return sizes


def _equations(ports: Mapping[str, Port], arrays: Mapping[str, Array]) -> Iterator[tuple[str, Affine, int]]:
    for name, array in arrays.items():
        for dim, size in zip(ports[name].shape, array.shape, strict=True):
            parsed = parse_dim(dim) if isinstance(dim, str) else dim
            if isinstance(parsed, Affine):
                yield name, parsed, size


def shape_of(port: Port, symbols: Symbols) -> tuple[int, ...]:
    """The shape of a port under the sizes of its symbols.

    Raises:
        InputError: no input says how large a symbol is.
    """
    return tuple(dim if isinstance(dim, int) else _size(port, dim, symbols) for dim in port.shape)


def _size(port: Port, dim: str, symbols: Symbols) -> int:
    size = bind(parse_dim(dim), symbols)
    if isinstance(size, Affine):
        raise InputError(f"no input says how large the dimension '{dim}' of '{port.name}' is")
    return size
