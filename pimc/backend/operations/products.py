"""Products with weight matrices and lookups in tables, near the banks."""

from __future__ import annotations

from collections.abc import Iterator

from passes import Node, PlacedMatrix, Value
from pimc.backend.emitter import Words
from pimc.backend.lowering import Lower, Lowering
from pimc.backend.operations.elementwise import emit_binary, word_type
from pimc.backend.operations.indices import index_at
from pimc.backend.operations.nest import element_loops
from pimc.backend.rooms.views import View

_SAME_NAME = ("relu", "silu", "gelu", "gelu_tanh", "tanh", "sigmoid")
"""Activations that are functions of the vector unit; `quick_gelu` takes two instructions."""

_QUICK_GELU_SCALE = 1.702


def lower_linear(low: Lowering, node: Node) -> None:
    """Lower y = x W + bias, for the current row together with a residual addition that follows."""
    matrix = low.placement.matrix(node, "linear")
    if _is_one_row(low, node):
        view = low.storage.aligned(node.operand(0), node)
        with low.padded(view, matrix, low.storage.free_words(node.operand(0))) as source:
            _product_into(low, node, matrix, source, node.optional(2))
        return
    for vector, result in _vectors(low, node):
        with low.padded(vector, matrix, 0) as source:
            _product_to(low, matrix, source, node.optional(2), result)


def lower_feed_forward(low: Lowering, node: Node) -> None:
    """Lower both products of a feed-forward block with the activation between them."""
    inner, down = low.placement.matrix(node, "in"), low.placement.matrix(node, "down")
    size = max(inner.layout.padded_outputs, down.layout.padded_inputs)
    with low.storage.scratch(size, "the hidden part of a feed-forward block") as wide:
        if _is_one_row(low, node):
            view = low.storage.aligned(node.operand(0), node)
            _hidden(low, node, view, wide, low.storage.free_words(node.operand(0)))
            _product_into(low, node, down, wide, node.optional(6))
            return
        for vector, result in _vectors(low, node):
            _hidden(low, node, vector, wide, 0)
            _product_to(low, down, wide, node.optional(6), result)


def _is_one_row(low: Lowering, node: Node) -> bool:
    """Whether there is one vector, in a loop over rows, whose results have room for whole accumulators."""
    return low.storage.row is not None and all(size == 1 for size in low.map.part_shape(node.output)[:-1])


def _vectors(low: Lowering, node: Node) -> Iterator[tuple[View, View]]:
    """Hardware loops over all vectors of the operand and of the result."""
    source, target = low.storage.aligned(node.operand(0), node), low.storage.define(node.output)
    for vector, result in element_loops(low.extents, [source.without(-1), target.without(-1)]):
        yield _last_axis(source, vector), _last_axis(target, result)


def _last_axis(view: View, words: Words) -> View:
    return View(words, view.shape[-1:], view.strides[-1:])


def _product_to(
    low: Lowering,
    matrix: PlacedMatrix,
    source: Words,
    bias: Value | None,
    result: View,
    column: int | None = None,
) -> None:
    """Emit result = W x + bias by way of a place with room for whole accumulators."""
    with low.storage.scratch(matrix.layout.padded_outputs, "a product") as words:
        low.product(matrix, source, words, column=column)
        product = low.dense(result, words)
        if bias is None:
            low.copy_view(result, product)
        else:
            emit_binary(low, "vadd", (result, product, low.storage.view(bias)), "f32")


def _hidden(low: Lowering, node: Node, view: View, wide: Words, room: int) -> None:
    """Emit the first product and the activation."""
    inner, down = low.placement.matrix(node, "in"), low.placement.matrix(node, "down")
    hidden, read, gate = down.layout.inputs, down.layout.padded_inputs, node.optional(3)
    with low.padded(view, inner, room) as source:
        low.product(inner, source, wide)
    up = wide if gate is None else wide + hidden
    for bias, place in ((node.optional(2), up), (node.optional(4), wide)):
        if bias is not None:
            low.emitter.emit("vadd", place.operand, place.operand, low.storage.words(bias).operand, hidden)
    _activate(low, str(node.attributes["activation"]), wide, hidden)
    if gate is not None:
        low.emitter.emit("vmul", wide.operand, wide.operand, up.operand, hidden)
    low.clear(wide + hidden, read - hidden)


def _activate(low: Lowering, activation: str, words: Words, length: int) -> None:
    place = words.operand
    if activation == "quick_gelu":
        with low.storage.scratch(length, "an activation") as gate:
            low.emitter.emit("vmap", gate.operand, place, "sigmoid", length, scale=_QUICK_GELU_SCALE)
            low.emitter.emit("vmul", place, place, gate.operand, length)
        return
    assert activation in _SAME_NAME, activation
    low.emitter.emit("vmap", place, place, activation, length)


def _product_into(low: Lowering, node: Node, matrix: PlacedMatrix, source: Words, bias: Value | None) -> None:
    """Emit the product; a bias and a following residual addition wait in the result and are added in the read path."""
    length = matrix.layout.outputs
    add, residual = _residual(low, node)
    value = add.output if add is not None else node.output
    is_source = residual is not None and low.storage.root(residual) is low.storage.root(node.operand(0))
    if residual is not None and bias is None and not is_source and low.storage.take_over(residual, value):
        low.product(matrix, source, low.storage.words(value), accumulate=True)
    else:
        target = low.storage.define(value).words
        addends = [low.storage.words(v).operand for v in (residual, bias) if v is not None]
        if len(addends) == 2:
            low.emitter.emit("vadd", target.operand, *addends, length)
        elif addends:
            low.emitter.emit("vmap", target.operand, addends[0], len=length)
        low.product(matrix, source, target, accumulate=bool(addends))
    if add is not None:
        low.absorbed.add(add)


def _residual(low: Lowering, node: Node) -> tuple[Node | None, Value | None]:
    """The addition that is the only user of the product, and its other operand, when that is known already."""
    add = low.later_user(node.output)
    if add is None or add.op != "add" or add.output.shape != node.output.shape:
        return None, None
    other = add.operand(1) if add.operand(0) is node.output else add.operand(0)
    if other is node.output or other.shape != add.output.shape or not low.storage.has_room(other):
        return None, None
    if other not in low.map.rows or not low.storage.view(other).is_contiguous:
        return None, None
    return add, other


def lower_expert_linear(low: Lowering, node: Node) -> None:
    """Lower products with matrices chosen at run time: only the chosen ones are read."""
    matrix = low.placement.matrix(node, "experts")
    source, index = (low.storage.aligned(node.operand(position), node) for position in (0, 1))
    target = low.storage.define(node.output)
    views = [source.without(-1), target.without(-1), index]
    for vector, result, place in element_loops(low.extents, views):
        with (
            index_at(low, place, matrix.experts) as column,
            low.padded(_last_axis(source, vector), matrix, 0) as words,
        ):
            low.emitter.emit("mul", column, column, matrix.layout.columns)
            _product_to(low, matrix, words, None, _last_axis(target, result), column)


def lower_matmul(low: Lowering, node: Node) -> None:
    """Lower a product of two computed tensors: one term of all sums after the other, on the vector unit."""
    left, right = (low.storage.aligned(node.operand(position), node) for position in (0, 1))
    left, right, target = _as_matrices(left, right, low.storage.define(node.output))
    shape = target.shape
    terms = left.shape[-1]
    low.clear_view(target)
    with low.extents.operand(terms) as count, low.emitter.loop(count) as term:
        column, row = low.storage.element(left, left.rank - 1, term), low.storage.element(right, right.rank - 2, term)
        a = View(column.words, (*column.shape, 1), (*column.strides, 0)).broadcast(shape)
        b = View(row.words, (*row.shape[:-1], 1, row.shape[-1]), (*row.strides[:-1], 0, row.strides[-1]))
        emit_binary(low, "vmac", (target, a, b.broadcast(shape)), word_type(node.output))
        low.storage.release_element(column, left)
        low.storage.release_element(row, right)


def _as_matrices(left: View, right: View, target: View) -> tuple[View, View, View]:
    """Vectors as matrices with one row or column, as numpy.matmul takes them."""
    if left.rank == 1:
        left = View(left.words, (1, *left.shape), (0, *left.strides))
        place = target.rank - (right.rank > 1)
        target = _with_axis(target, place)
    if right.rank == 1:
        right = View(right.words, (*right.shape, 1), (*right.strides, 0))
        target = _with_axis(target, target.rank)
    return left, right, target


def _with_axis(view: View, place: int) -> View:
    shape, strides = view.shape, view.strides
    return View(view.words, (*shape[:place], 1, *shape[place:]), (*strides[:place], 0, *strides[place:]))


PRODUCTS: dict[str, Lower] = {
    "linear": lower_linear,
    "expert_linear": lower_expert_linear,
    "feed_forward": lower_feed_forward,
    "matmul": lower_matmul,
}
