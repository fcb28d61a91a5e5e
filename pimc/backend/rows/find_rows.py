"""Finding the nodes that work row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from passes import Affine, Dim, Graph, Node, Value
from pimc.backend.rows.row_axes import RowAxes, RowMap, Space, is_token_integer
from pimc.backend.rows.row_rules import rows_of_result

_STARTERS = frozenset({"linear", "feed_forward", "cached_attention", "layer_norm", "rms_norm", "rotary"})
"""Operations that make rows of a whole tensor [batch, tokens, features]."""

_ALIGNED = frozenset(
    {"add", "sub", "mul", "div", "max", "min", "pow", "mod", "and", "or", "xor", "where", "concat", "rotary"}
    | {"equal", "less", "less_equal", "greater", "greater_equal"}
)
"""Operations whose operands line up with the result from the right, so that whole tensors have a part for each row."""


def row_spaces(graph: Graph) -> list[Space]:
    """Rows that nodes start from, the main ones first."""
    found: dict[Space, None] = {}
    attention = [node for node in graph.nodes if node.op == "cached_attention"]
    for node in sorted(attention, key=lambda node: not node.attributes["causal"]):
        for value in (node.operand(0), node.optional(1)):
            if value is not None and isinstance(value.shape[0], int):
                found.setdefault(Space(value.shape[0], value.shape[1]))
    for node in graph.nodes:
        shape = node.operand(0).shape if node.op in _STARTERS else ()
        if len(shape) == 3 and isinstance(shape[0], int) and not (shape[0] == 1 and shape[1] == 1):
            found.setdefault(Space(shape[0], shape[1]))
    return list(found)


def find_rows(graph: Graph, problem: Callable[[Node, RowMap], bool]) -> RowMap:
    """Propagate rows from the inputs and from the operations that start them.

    Args:
        graph: The fused graph.
        problem: Whether the backend has no code for a node row by row; such nodes become dense.
    """
    spaces = row_spaces(graph)
    has_attention = any(node.op == "cached_attention" for node in graph.nodes)
    demoted = set(_mask_nodes(graph))
    while True:
        found = _propagate(graph, spaces, demoted, spaces[0] if has_attention and spaces else None)
        worse = {node for node in graph.nodes if node not in found.dense and problem(node, found)}
        worse |= set(_needed_whole(graph, found))
        if not worse:
            return found
        demoted |= worse


def _needed_whole(graph: Graph, found: RowMap) -> Iterator[Node]:
    """Producers of row values that have no words, or no even spacing, but are read as whole tensors."""
    for node in graph.nodes:
        if node not in found.dense:
            continue
        for value in node.inputs:
            producer = value.producer if value is not None else None
            if value is None or producer is None or producer in found.dense:
                continue
            own = found.rows.get(value)
            if own is not None and (is_token_integer(found, value) or own.is_uneven):
                yield producer
    for value in graph.outputs.values():
        own = found.rows.get(value)
        has_words = own is None or not (is_token_integer(found, value) or own.is_uneven)
        if not has_words and value.producer is not None:
            yield value.producer


def _mask_nodes(graph: Graph) -> Iterator[Node]:
    """Everything between the inputs (or the last operation on features) and a mask or bias of attention."""
    waiting = [
        value
        for node in graph.nodes
        if node.op == "cached_attention"
        for position in (3, 4)
        if (value := node.optional(position)) is not None
    ]
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop().producer
        if node is None or node in seen or node.op in _STARTERS:
            continue
        seen.add(node)
        waiting += [value for value in node.inputs if value is not None]
    yield from seen


def _whole_inputs(graph: Graph, demoted: set[Node]) -> set[Value]:
    """Inputs that only masks are made of."""
    return {
        value
        for value in graph.inputs
        if value.users
        and all(
            node in demoted or (node.op == "cached_attention" and value in (node.optional(3), node.optional(4)))
            for node in value.users
        )
    }


def _propagate(graph: Graph, spaces: list[Space], demoted: set[Node], main: Space | None) -> RowMap:
    rows: dict[Value, RowAxes] = {}
    whole = _whole_inputs(graph, demoted)
    for value in graph.inputs:
        own = None if value in whole else _input_rows(value, spaces)
        if own is not None:
            rows[value] = own
    dense: set[Node] = set()
    for node in graph.nodes:
        own = None if node in demoted else _node_rows(node, rows, spaces, main)
        if own is None:
            dense.add(node)
            continue
        for value in node.outputs:
            rows[value] = own
    return RowMap(main, rows, frozenset(dense))


def _input_rows(value: Value, spaces: list[Space]) -> RowAxes | None:
    if value.type.rank < 2:
        return None
    for space in spaces:
        if value.shape[1] == space.tokens and value.shape[0] in (1, space.batch):
            own = RowAxes(space, 1, 0 if space.batch > 1 and value.shape[0] != 1 else None)
            return own if _is_fixed(value, own) else None
    return None


def _is_fixed(value: Value, own: RowAxes) -> bool:
    return all(isinstance(dim, int) for axis, dim in enumerate(value.shape) if axis not in own.axes)


def _node_rows(node: Node, rows: Mapping[Value, RowAxes], spaces: list[Space], main: Space | None) -> RowAxes | None:
    """Row axes of the node's results, `None` when it works on whole tensors."""
    if node.op == "range":
        is_count = main is not None and node.output.shape == (main.tokens,) and isinstance(main.tokens, Affine)
        return RowAxes(main, 0) if is_count and main is not None else None
    if node.op == "cached_attention":
        return _started(node, spaces)
    carriers = [value for value in node.inputs if value is not None and value in rows]
    own = _agreed(node, carriers, rows) if carriers else _started(node, spaces)
    if own is None or any(not _is_fixed(value, own) for value in node.outputs):
        return None
    if not all(value.type.rank == node.output.type.rank for value in node.outputs):
        return None
    return own if _operands_fit(node, own, rows) else None


def _started(node: Node, spaces: list[Space]) -> RowAxes | None:
    shape = node.operand(0).shape if node.op in _STARTERS else ()
    if len(shape) != 3 or not isinstance(shape[0], int) or Space(shape[0], shape[1]) not in spaces:
        return None
    return RowAxes(Space(shape[0], shape[1]), 1, 0 if shape[0] > 1 else None)


def _agreed(node: Node, carriers: list[Value], rows: Mapping[Value, RowAxes]) -> RowAxes | None:
    """The row axes that all carriers lead to; sequences may share some of them."""
    found = [rows_of_result(node, carrier, rows[carrier]) for carrier in carriers]
    known = [own for own in found if own is not None]
    if len(known) < len(found):
        return None
    if all(_is_single(own) for own in known):  # the only row: any axis of size 1 may count it
        return next((own for own in known if node.output.shape[own.token] == 1), None)
    if len({(own.space, own.token, own.fold) for own in known}) > 1:
        return None
    batches = {own.batch for own in known if own.batch is not None}
    if len(batches) > 1:
        return None
    return replace(known[0], batch=batches.pop() if batches else None)


def _is_single(own: RowAxes) -> bool:
    return own.space.batch == 1 and own.space.tokens == 1 and own.fold == 1


def _operands_fit(node: Node, own: RowAxes, rows: Mapping[Value, RowAxes]) -> bool:
    """Whether every whole operand has a part for each row, or is the same for all of them."""
    if own.is_uneven and node.op in _ALIGNED:
        wholes = [value for value in node.inputs if value is not None and value not in rows]
        return all(_own_size(node, value, own.token) == 1 for value in wholes)
    if node.op in _ALIGNED or node.op in _STARTERS:
        return True
    return all(value is None or value in rows or value.is_constant for value in node.inputs)


def _own_size(node: Node, value: Value, axis: int) -> Dim:
    position = axis - node.output.type.rank + value.type.rank
    return value.shape[position] if position >= 0 else 1
