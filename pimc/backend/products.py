"""Products with weight matrices and lookups in tables, near the banks."""

from __future__ import annotations

from isa import Indexed
from passes import MatrixLayout, Node, PlacedMatrix, Value, is_bank_table
from pimc.backend.emitter import Words, indexed
from pimc.backend.lowering import Lower, Lowering
from pimc.backend.scalars import is_token_integer, token_integer

_SAME_NAME = ("relu", "silu", "gelu", "gelu_tanh", "tanh", "sigmoid")
"""Activations that are functions of the vector unit; `quick_gelu` takes two instructions."""

_QUICK_GELU_SCALE = 1.702


def lower_linear(low: Lowering, node: Node) -> None:
    """Lower y = x W + bias, together with a residual addition that follows."""
    matrix = low.placement.matrix(node, "linear")
    with low.padded(node.operand(0), matrix.layout) as source:
        _product_into(low, node, matrix, source, node.optional(2))


def lower_feed_forward(low: Lowering, node: Node) -> None:
    """Lower both products of a feed-forward block with the activation between them."""
    inner, down = low.placement.matrix(node, "in"), low.placement.matrix(node, "down")
    hidden, read = down.layout.inputs, down.layout.padded_inputs
    gate = node.optional(3)
    size = max(inner.layout.padded_outputs, read)
    with low.storage.scratch(size, "the hidden part of a feed-forward block") as wide:
        with low.padded(node.operand(0), inner.layout) as source:
            low.product(inner, source, wide)
        up = wide if gate is None else wide + hidden
        for bias, place in ((node.optional(2), up), (node.optional(4), wide)):
            if bias is not None:
                low.emitter.emit("vadd", place.operand, place.operand, low.storage.words(bias).operand, hidden)
        _activate(low, str(node.attributes["activation"]), wide, hidden)
        if gate is not None:
            low.emitter.emit("vmul", wide.operand, wide.operand, up.operand, hidden)
        low.clear(wide + hidden, read - hidden)
        _product_into(low, node, down, wide, node.optional(6))


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
    is_source = residual is not None and low.storage.root(residual) == low.storage.root(node.operand(0))
    if residual is not None and bias is None and not is_source and low.storage.take_over(residual, value):
        low.product(matrix, source, low.storage.words(value), accumulate=True)
    else:
        target = low.storage.define(value)
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
    return add, other


def lower_gather(low: Lowering, node: Node) -> None:
    """Lower the lookup of a row of a table by an integer of the token."""
    if is_token_integer(node.output):
        return
    table = node.operand(0)
    index = _clamped(low, token_integer(low, node.operand(1)), int(str(table.shape[0])))
    target = low.storage.define(node.output)
    if is_bank_table(node):
        _load_row(low, low.placement.matrix(node, "table"), index, target)
    else:
        width = low.axes.words(node.output)
        offset = low.emitter.scalar("mul", index, width)
        source = low.storage.words(table)
        low.emitter.emit("vmap", target.operand, Indexed(source.word, offset), len=width)
        low.emitter.release(offset)
    low.emitter.release(index)


def _clamped(low: Lowering, register: int, rows: int) -> int:
    """The index inside the table: negative ones count from its end, as in ONNX, and what lies outside wraps around."""
    wrapped = low.emitter.scalar("add", register, rows)
    low.emitter.emit("remu", wrapped, wrapped, rows)
    return wrapped


def _load_row(low: Lowering, matrix: PlacedMatrix, index: int, target: Words) -> None:
    """Read row `index` of a table, which is output `index` of its matrix: all columns lie in one bank."""
    layout, scalar, emitter = matrix.layout, low.emitter.scalar, low.emitter
    place = scalar("remu", index, layout.group_outputs)
    channel = scalar("divu", place, layout.banks)
    bank = scalar("remu", place, layout.banks)
    one = emitter.register()
    emitter.emit("li", one, 1)
    emitter.emit("shl", one, one, Indexed(0, channel))
    output = scalar("divu", index, layout.group_outputs)
    width_done = 0
    tile = scalar("divu", output, layout.tile_outputs)
    inside = scalar("remu", output, layout.tile_outputs)
    emitter.emit("mul", tile, tile, layout.tile_outputs * layout.slice_columns)
    for start, width in layout.chunks():
        column = scalar("mul", inside, width)
        emitter.emit("add", column, column, Indexed(0, tile))
        if start:
            _add_chunk_start(low, column, output, layout, start)
        emitter.emit(
            "ldb",
            ch=indexed(0, one),
            bank=indexed(0, bank),
            addr=indexed(matrix.column, column),
            cols=width,
            dst=(target + width_done).operand,
        )
        emitter.release(column)
        width_done += width * layout.lanes
    emitter.release(place, channel, bank, one, output, tile, inside)


def _add_chunk_start(low: Lowering, column: int, output: int, layout: MatrixLayout, start: int) -> None:
    """column += start * outputs of the tile that `output` lies in; the last tile may have fewer than the others."""
    emitter = low.emitter
    before = emitter.scalar("divu", output, layout.tile_outputs)
    emitter.emit("mul", before, before, layout.tile_outputs)
    size = emitter.register()
    emitter.emit("li", size, layout.bank_outputs)
    emitter.emit("sub", size, size, Indexed(0, before))
    emitter.emit("min", size, size, layout.tile_outputs)
    emitter.emit("mul", size, size, start)
    emitter.emit("add", column, column, Indexed(0, size))
    emitter.release(before, size)


PRODUCTS: dict[str, Lower] = {
    "linear": lower_linear,
    "feed_forward": lower_feed_forward,
    "gather": lower_gather,
}
