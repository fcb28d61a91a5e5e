"""Sizes of the model's dynamic dimensions, found from the arrays that are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from isa import InputError, Port, Program, ResourceLimitError
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


def bind_masks(program: Program, arrays: Mapping[str, Array], sizes: Symbols) -> dict[str, int]:
    """Sizes of the symbols together with those that only masks of keys have, which count the keys.

    Raises:
        InputError: a mask has not one position for each key.
        ResourceLimitError: there are more keys than room for a mask.
    """
    found = dict(sizes)
    for port in program.ports:
        layout = program.symbol(port.symbol).layout if port.kind == "keys" else {}
        if "keys" not in layout or not port.shape:
            continue
        keys = _size(port, layout["keys"], sizes)
        if not 0 <= keys <= program.symbol(port.symbol).size:
            raise ResourceLimitError(f"the mask '{port.name}' has no room for {keys} keys")
        if port.name in arrays and arrays[port.name].shape[-1] != keys:
            message = f"'{port.name}' has {arrays[port.name].shape[-1]} positions"
            raise InputError(message, notes=[f"allowed: {keys}, for {layout['keys']} keys"])
        dim = parse_dim(str(port.shape[-1]))
        if isinstance(dim, Affine) and dim.terms == ((str(dim), 1),):
            found.setdefault(str(dim), keys)
    return found


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
