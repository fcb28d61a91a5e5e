"""How rows go from the operands of a node to its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from passes import Affine, Dim, Node, Value, product
from pimc.backend.rows.row_axes import RowAxes

_SAME_AXIS = frozenset({"linear", "rotary", "feed_forward", "layer_norm", "rms_norm"})


def _moved(own: RowAxes, axis: Callable[[int], int | None]) -> RowAxes | None:
    """The same rows on other axes."""
    token = axis(own.token)
    batch = None if own.batch is None else axis(own.batch)
    if token is None or token < 0 or (own.batch is not None and (batch is None or batch < 0)):
        return None
    return replace(own, token=token, batch=batch)


def _elementwise_rows(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    if node.op in _SAME_AXIS:
        return own if carrier.type.rank == node.output.type.rank and carrier is node.inputs[0] else _beside(node, own)
    shift = node.output.type.rank - carrier.type.rank
    return _moved(own, lambda axis: axis + shift)


def _beside(node: Node, own: RowAxes) -> RowAxes | None:
    """Rows of a second operand, such as the tables of a rotary embedding, which lie on the same axes."""
    return own if node.op == "rotary" else None


def _reshape_rows(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    source, target = carrier.shape, node.output.shape
    if own.is_merged:
        return _unmerged(source, target, own)
    token = _same_place(source, target, own.token)
    batch = None if own.batch is None else _same_place(source, target, own.batch)
    if token is not None and (own.batch is None or batch is not None):
        return replace(own, token=token, batch=batch)
    if own.batch is None:
        return _refolded(source, target, own, own.space.tokens)
    if own.token == own.batch + 1 and own.fold == 1:
        rows = own.space.tokens * own.space.batch
        for position, dim in enumerate(target):
            if dim == rows and _product(target[:position]) == _product(source[: own.batch]):
                return RowAxes(own.space, position, position)
    return None


def _unmerged(source: tuple[Dim, ...], target: tuple[Dim, ...], own: RowAxes) -> RowAxes | None:
    same = _same_place(source, target, own.token)
    if same is not None:
        return replace(own, token=same, batch=same)
    folded = _refolded(source, target, own, own.space.tokens * own.space.batch)
    if folded is not None or own.fold > 1:
        return folded
    before = _product(source[: own.token])
    for position in range(len(target) - 1):
        pair = (own.space.batch, own.space.tokens)
        if target[position : position + 2] == pair and _product(target[:position]) == before:
            return RowAxes(own.space, position + 1, position)
    return None


def _refolded(source: tuple[Dim, ...], target: tuple[Dim, ...], own: RowAxes, rows: Dim) -> RowAxes | None:
    """The rows on an axis that counts more or fewer elements of each of them."""
    before = _product(source[: own.token])
    for position, dim in enumerate(target):
        fold = _times(dim, rows)
        if fold and _product(target[:position]) == before:
            return replace(own, token=position, batch=None if own.batch is None else position, fold=fold)
    return None


def _times(dim: Dim, rows: Dim) -> int:
    """How often `rows` is contained in `dim`, 0 when that is no number; a fixed number of rows is not searched for."""
    if isinstance(rows, int) or isinstance(dim, int) or not rows.terms:
        return 0
    fold = dim.terms[0][1] // rows.terms[0][1]
    return fold if fold and rows * fold == dim else 0


def _same_place(source: tuple[Dim, ...], target: tuple[Dim, ...], axis: int) -> int | None:
    """Axis of the target with the size of the axis of the source, and as many elements before it; best the same."""
    before = _product(source[:axis])
    for position, dim in sorted(enumerate(target), key=lambda each: each[0] != axis):
        if dim == source[axis] and _product(target[:position]) == before:
            return position
    return None


def _product(dims: tuple[Dim, ...]) -> Dim | None:
    """Product of dimensions, `None` when it is not affine."""
    if sum(isinstance(dim, Affine) for dim in dims) > 1:
        return None
    return product(dims)


def _transpose_rows(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    return _moved(own, tuple(int(axis) % carrier.type.rank for axis in node.attributes["perm"]).index)


def _along_rows(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    axis = int(node.attributes["axis"]) % carrier.type.rank
    shift = node.output.type.rank - carrier.type.rank
    if axis in own.axes:
        return None
    return _moved(own, lambda place: place + (shift if place > axis else 0))


def _chosen_rows(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    return own if carrier is not node.inputs[0] or own.token < carrier.type.rank - 1 else None


def _gather_rows(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    axis = int(node.attributes["axis"])
    if carrier is node.inputs[0] or axis < 0:
        return None
    return _moved(own, lambda place: place + axis)


def _reduced_rows(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    reduced = {int(axis) % carrier.type.rank for axis in node.attributes["axes"]}
    if own.axes & reduced:
        return None
    if node.attributes["keepdims"]:
        return own
    return _moved(own, lambda place: place - sum(axis < place for axis in reduced))


def _never(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    return None


_RULES: dict[str, Callable[[Node, Value, RowAxes], RowAxes | None]] = {
    "reshape": _reshape_rows,
    "transpose": _transpose_rows,
    "gather": _gather_rows,
    **dict.fromkeys(("slice", "concat", "split", "softmax", "topk"), _along_rows),
    "expert_linear": _chosen_rows,
    **dict.fromkeys(("reduce_sum", "reduce_mean", "reduce_max", "reduce_min"), _reduced_rows),
    **dict.fromkeys(
        ("matmul", "attention", "gather_nd", "gather_elements", "argmax", "trilu", "cumsum", "scatter_nd"),
        _never,
    ),
    "scatter_elements": _never,
}


def rows_of_result(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    """Row axes of a node's result, when its operand `carrier` has the rows `own`; `None` when it is no row value."""
    return _RULES.get(node.op, _elementwise_rows)(node, carrier, own)
