"""Rules on the attributes of graph operations, by the attribute's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from passes.dims import Affine
from passes.ir import Graph
from passes.ops import ACTIVATIONS, FLOAT_DTYPES, INTEGER_DTYPES
from passes.verifier_findings import Finding

DTYPES = (*FLOAT_DTYPES, *INTEGER_DTYPES, "bool")


def attribute_findings(graph: Graph) -> Iterator[Finding]:
    """One finding for every attribute whose value is not of its kind."""
    for node in graph.nodes:
        for name, value in node.attributes.items():
            kind, holds = _KINDS[name]
            if not holds(value):
                yield Finding(f"the attribute {name} is {value!r}, but must be {kind}", node)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_dim(value: Any) -> bool:
    return _is_integer(value) or isinstance(value, Affine)


def _tuple_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, tuple) and all(holds(part) for part in value)


_INTEGER = ("an integer", _is_integer)
_COUNT = ("an integer of at least 0", lambda value: _is_integer(value) and value >= 0)
_POSITIVE = ("an integer above 0", lambda value: _is_integer(value) and value > 0)
_NUMBER = ("a number", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool))
_BOOL = ("a bool", lambda value: isinstance(value, bool))
_TEXT = ("a string", lambda value: isinstance(value, str))
_DIM = ("a dimension", _is_dim)
_POINT = ("a dimension or a float", lambda value: _is_dim(value) or isinstance(value, float))
_STEP = ("a number but 0, or a dimension", lambda value: _POINT[1](value) and value != 0)
_DIMS = ("a tuple of dimensions", _tuple_of(_is_dim))
_INTEGERS = ("a tuple of integers", _tuple_of(_is_integer))


def _one_of(names: tuple[str, ...]) -> tuple[str, Callable[[Any], bool]]:
    return f"one of {', '.join(names)}", lambda value: value in names


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "activation": _one_of(ACTIVATIONS),
    "approximate": _one_of(("none", "tanh")),
    "axes": _INTEGERS,
    "axis": _INTEGER,
    "batch_dims": _COUNT,
    "cache": _TEXT,
    "causal": _BOOL,
    "diagonal": _DIM,
    "epsilon": _NUMBER,
    "heads": _POSITIVE,
    "interleaved": _BOOL,
    "keepdims": _BOOL,
    "kv_heads": _POSITIVE,
    "perm": _INTEGERS,
    "scale": _NUMBER,
    "shape": _DIMS,
    "sizes": _DIMS,
    "start": _POINT,
    "step": _STEP,
    "stop": _POINT,
    "to": _one_of(DTYPES),
    "upper": _BOOL,
    "window": _COUNT,
}
"""By attribute: what it must be in words, and the test."""
