"""What a user can bind so that contents which must be known at compile time are known."""

from __future__ import annotations

from collections.abc import Iterable

from passes import Affine, Value
from pimc.frontend.symbols import SymbolTable

_LARGEST_BOUND_INPUT = 64
"""Elements of an input that may be bound by hand; contents of longer ones are no options of a model."""


def binding_help(symbols: SymbolTable, value: Value) -> str:
    """Names the dimensions and the small inputs from which a value is computed."""
    ancestors = _ancestors(value)
    names = {name for each in ancestors for name in symbols.resolve_type(each.type).symbols}
    names |= {
        name
        for each in ancestors
        if each.producer is not None
        for attribute in each.producer.attributes.values()
        for name in _symbols(symbols, attribute)
    }
    inputs = sorted(each.name for each in ancestors if each.producer is None and _is_option(each))
    parts = [f"--dim {name}=N" for name in sorted(names)] + [f"--bind {name}=VALUE" for name in inputs]
    if not parts:
        return "it depends on data alone: export the model so that it does not"
    return f"bind what it depends on: {' '.join(parts)}"


def _ancestors(value: Value) -> list[Value]:
    seen, waiting = {value}, [value]
    while waiting:
        current = waiting.pop()
        if current.producer is not None:
            fresh = [each for each in current.producer.inputs if each is not None and each not in seen]
            seen.update(fresh)
            waiting += fresh
    return [each for each in seen if not each.is_constant]


def _is_option(value: Value) -> bool:
    """Whether an input is small enough to be given on the command line."""
    count = 1
    for dim in value.shape:
        if isinstance(dim, Affine):
            return False
        count *= dim
    return count <= _LARGEST_BOUND_INPUT and value.type.dtype in ("bool", "int32", "int64")


def _symbols(symbols: SymbolTable, attribute: object) -> Iterable[str]:
    if isinstance(attribute, Affine):
        dim = symbols.resolve(attribute)
        return dim.symbols if isinstance(dim, Affine) else ()
    if isinstance(attribute, tuple):
        return [name for part in attribute for name in _symbols(symbols, part)]
    return ()
