"""Integers of a token (identifiers, positions) in scalar registers."""

from __future__ import annotations

from isa import Indexed
from passes import Affine, Dim, Graph, Node, Value, constant_scalar
from pimc.backend.lowering import Lowering
from pimc.backend.rows.row_axes import RowMap, is_token_integer

_RENAMES = frozenset({"cast", "reshape", "expand", "identity", "transpose"})
_BINARY = {"add": "add", "sub": "sub", "mul": "mul", "max": "max", "min": "min"}
_INTEGERS = frozenset({"int64", "int32"})
_LARGEST = 2**31 - 1


def past_symbols(graph: Graph) -> frozenset[str]:
    """Symbols that stand for the number of tokens before the run, in the caches that a run appends to."""
    found: set[str] = set()
    for node in graph.nodes:
        if node.op == "cached_attention" and node.optional(1) is not None:
            kind = graph.signature.get(graph.caches[str(node.attributes["cache"])].past_key or "")
            found |= {name for dim in (kind.shape if kind else ()) if isinstance(dim, Affine) for name in dim.symbols}
    return frozenset(found)


def is_scalar_index(rows: RowMap, value: Value) -> bool:
    """Whether a scalar register can hold the value: one integer a row, computed there or given by the host."""
    if value not in rows.rows or rows.words(value) != 1:
        return False
    return value.producer is None or is_token_integer(rows, value)


def scalar_problem(graph: Graph, node: Node, rows: RowMap) -> bool:
    """Whether the integer that `node` computes for each token needs more than scalar instructions."""
    if any(_row_words(rows, value) != 1 for value in (node.output, *node.inputs) if value is not None):
        return True
    if node.op == "range":
        start = node.attributes["start"]
        is_past = not isinstance(start, Affine) or start.symbols <= past_symbols(graph)
        return not is_past or not isinstance(node.attributes["step"], int)
    if node.op in _RENAMES:
        return node.operand(0).type.dtype not in _INTEGERS or node.operand(0) not in rows.rows
    number = constant_scalar(node.inputs[1]) if len(node.inputs) == 2 else None
    is_operand = number is not None and number == int(number) and abs(number) <= _LARGEST
    return node.op not in _BINARY or not is_operand or node.operand(0) not in rows.rows


def _row_words(rows: RowMap, value: Value) -> int:
    """Elements of the value's part; -1 for whole tensors, which have no part."""
    return rows.words(value) if value in rows.rows or value.is_constant else -1


def token_integer(low: Lowering, value: Value) -> int:
    """Register of the integer that `value` holds for the current token; `scalar_problem` said that it can be had."""
    return low.once(value, lambda: _compute(low, value))


def _compute(low: Lowering, value: Value) -> int:
    node = value.producer
    register = low.emitter.register()
    if node is None:
        number = constant_scalar(value)
        if number is not None:
            low.emitter.emit("li", register, int(number))
        else:
            low.emitter.emit("lds", register, low.storage.words(value).operand)
    elif node.op == "range":
        range_element(low, register, node.attributes["start"], int(node.attributes["step"]))
    elif node.op in _RENAMES:
        low.emitter.emit("li", register, Indexed(0, token_integer(low, node.operand(0))))
    else:
        number = constant_scalar(node.inputs[1])
        operand = token_integer(low, node.operand(0))
        low.emitter.emit(_BINARY[node.op], register, operand, int(number or 0))
    return register


def range_element(low: Lowering, register: int, start: Dim, step: int) -> None:
    """Emit register = start + step * token index."""
    row = low.storage.row
    assert row is not None
    low.emitter.emit("mul", register, row.token, step)
    if start != 0:
        with low.extents.operand(start) as first:
            low.emitter.emit("add", register, register, first)
