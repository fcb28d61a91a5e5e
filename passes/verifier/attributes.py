"""Rules on the attributes of graph operations, by the attribute's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from passes.dims import Affine
from passes.ir import Graph
from passes.ops import ACTIVATIONS, FLOAT_DTYPES, INTEGER_DTYPES, SCATTER_REDUCTIONS
from passes.verifier.findings import Finding

Test = Callable[[Any], bool]
Kind = tuple[str, Test]
"""What an attribute must be in words, and the test."""

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


def _is_count(value: Any) -> bool:
    return _is_integer(value) and value >= 0


def _is_positive(value: Any) -> bool:
    return _is_integer(value) and value > 0


def _is_number(value: Any) -> bool:
    return _is_integer(value) or isinstance(value, float)


def _is_size(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_point(value: Any) -> bool:
    return _is_dim(value) or isinstance(value, float)


def _is_step(value: Any) -> bool:
    return _is_point(value) and value != 0


def _tuple_of(holds: Test) -> Test:
    def test(value: Any) -> bool:
        if not isinstance(value, tuple):
            return False
        parts: tuple[Any, ...] = value
        return all(map(holds, parts))

    return test


def _one_of(names: tuple[str, ...]) -> Kind:
    def test(value: Any) -> bool:
        return value in names

    return f"one of {', '.join(names)}", test


_INTEGER: Kind = ("an integer", _is_integer)
_COUNT: Kind = ("an integer of at least 0", _is_count)
_POSITIVE: Kind = ("an integer above 0", _is_positive)
_NUMBER: Kind = ("a number", _is_number)
_SIZE: Kind = ("a number of at least 0", _is_size)
_BOOL: Kind = ("a bool", _is_bool)
_TEXT: Kind = ("a string", _is_text)
_DIM: Kind = ("a dimension", _is_dim)
_POINT: Kind = ("a dimension or a float", _is_point)
_STEP: Kind = ("a number but 0, or a dimension", _is_step)
_DIMS: Kind = ("a tuple of dimensions", _tuple_of(_is_dim))
_INTEGERS: Kind = ("a tuple of integers", _tuple_of(_is_integer))

_KINDS: dict[str, Kind] = {
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
    "k": _COUNT,
    "keepdims": _BOOL,
    "kv_heads": _POSITIVE,
    "largest": _BOOL,
    "perm": _INTEGERS,
    "reduction": _one_of(SCATTER_REDUCTIONS),
    "scale": _NUMBER,
    "shape": _DIMS,
    "sizes": _DIMS,
    "softcap": _SIZE,
    "start": _POINT,
    "step": _STEP,
    "stop": _POINT,
    "to": _one_of(DTYPES),
    "upper": _BOOL,
    "window": _COUNT,
}
"""By attribute."""
