"""Element-wise operations and copies on the vector unit, for the part of a row or for whole tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from isa import Indexed
from passes import Node, Value, constant_scalar
from pimc.backend.emitter import Words
from pimc.backend.lowering import Lower, Lowering
from pimc.backend.operations.nest import pieces
from pimc.backend.operations.scalars import range_element, token_integer
from pimc.backend.rooms.views import View, loses_digits
from pimc.backend.rows.row_axes import is_token_integer

_BINARY = {"add": "vadd", "sub": "vsub", "mul": "vmul", "div": "vdiv", "max": "vmax", "min": "vmin"}
_COMPARISONS = {
    "equal": ("equal", False),
    "less": ("less", False),
    "less_equal": ("less_equal", False),
    "greater": ("less", True),
    "greater_equal": ("less_equal", True),
}
"""Function of `vcmp`, and whether the operands change places."""

_LOGIC = {"and": "vmin", "or": "vmax"}
UNARY = {
    "sqrt": ("sqrt", 1.0),
    "reciprocal": ("reciprocal", 1.0),
    "exp": ("exp", 1.0),
    "log": ("log", 1.0),
    "sin": ("sin", 1.0),
    "cos": ("cos", 1.0),
    "tanh": ("tanh", 1.0),
    "erf": ("erf", 1.0),
    "sigmoid": ("sigmoid", 1.0),
    "abs": ("abs", 1.0),
    "relu": ("relu", 1.0),
    "silu": ("silu", 1.0),
    "floor": ("floor", 1.0),
    "ceil": ("ceil", 1.0),
    "round": ("round", 1.0),
    "sign": ("sign", 1.0),
    "neg": ("copy", -1.0),
}
"""Function of `vmap` and factor before it."""


def is_real(value: Value) -> bool:
    """Whether the words of the value are binary32; others are int32, booleans as 0 and 1."""
    return value.type.dtype.startswith(("float", "bfloat"))


def word_type(value: Value) -> str:
    """The operand `type` of vector instructions on the value."""
    return "f32" if is_real(value) else "i32"


def operands(low: Lowering, node: Node) -> list[View]:
    """Views of all operands under the shape of the result."""
    shape = low.map.part_shape(node.output)
    values = [node.operand(position) for position in range(len(node.inputs))]
    return [low.storage.aligned(value, node).broadcast(shape) for value in values]


def emit_binary(low: Lowering, mnemonic: str, views: tuple[View, View, View], kind: str) -> None:
    """Emit result = a op b for views of one shape.

    Args:
        low: State of the lowering.
        mnemonic: Of the vector instruction.
        views: Result and operands.
        kind: `f32` or `i32`.
    """
    for piece in pieces(low.extents, views):
        low.emitter.emit(mnemonic, *piece.operands, *piece.extent, type=kind)


def emit_comparison(low: Lowering, fn: str, views: tuple[View, View, View], kind: str) -> None:
    """Emit result = 1 where the comparison `fn` of the operands holds, else 0; arguments as for `emit_binary`."""
    for piece in pieces(low.extents, views):
        low.emitter.emit("vcmp", *piece.operands, *piece.extent, fn=fn, type=kind)


def emit_map(low: Lowering, target: View, source: View, fn: str, scale: float = 1.0, bias: float = 0.0) -> None:
    """Emit target = fn(scale * source + bias) for views of one shape."""
    for piece in pieces(low.extents, [target, source]):
        length, rows, *strides = piece.extent
        low.emitter.emit("vmap", *piece.operands, fn, length, rows, scale, bias, *strides)


def emit_select(low: Lowering, target: View, source: View, condition: View) -> None:
    """Emit target = source where the condition's word is not 0."""
    for piece in pieces(low.extents, [target, source, condition]):
        low.emitter.emit("vsel", *piece.operands, *piece.extent)


@contextmanager
def integer_word(low: Lowering, number: int) -> Iterator[Words]:
    """A word that holds an integer for the time of the block."""
    with low.storage.scratch(1, "an integer") as word:
        register = low.emitter.register()
        low.emitter.emit("li", register, number)
        low.emitter.emit("sts", word.operand, register)
        low.emitter.release(register)
        yield word


def everywhere(words: Words, like: View) -> View:
    """One word under the shape of another view."""
    return View(words, like.shape, (0,) * like.rank)


def lower_binary(low: Lowering, node: Node) -> None:
    """Lower a broadcast binary operation; a constant number becomes part of a `vmap`."""
    if is_token_integer(low.map, node.output):
        return
    left, right = node.operand(0), node.operand(1)
    affine = _affine(node.op, constant_scalar(left), constant_scalar(right)) if is_real(node.output) else None
    a, b = operands(low, node)
    target = low.storage.define(node.output)
    if affine is not None:
        emit_map(low, target, b if constant_scalar(left) is not None else a, "copy", *affine)
    else:
        emit_binary(low, _BINARY[node.op], (target, a, b), word_type(node.output))


def _affine(op: str, left: float | None, right: float | None) -> tuple[float, float] | None:
    """(scale, bias) of an operation with one constant operand."""
    if right is not None:
        return {"add": (1.0, right), "sub": (1.0, -right), "mul": (right, 0.0)}.get(op)
    if left is not None:
        return {"add": (1.0, left), "sub": (-1.0, left), "mul": (left, 0.0)}.get(op)
    return None


def lower_comparison(low: Lowering, node: Node) -> None:
    """Lower a comparison to 0 and 1."""
    fn, swapped = _COMPARISONS[node.op]
    a, b = operands(low, node)
    target = low.storage.define(node.output)
    emit_comparison(low, fn, (target, b, a) if swapped else (target, a, b), word_type(node.operand(0)))


def lower_logic(low: Lowering, node: Node) -> None:
    """Lower and, or, xor on words that are 0 or 1."""
    a, b = operands(low, node)
    target = low.storage.define(node.output)
    if node.op == "xor":
        emit_comparison(low, "not_equal", (target, a, b), "i32")
    else:
        emit_binary(low, _LOGIC[node.op], (target, a, b), "i32")


def lower_not(low: Lowering, node: Node) -> None:
    """Lower the negation of words that are 0 or 1."""
    (source,) = operands(low, node)
    target = low.storage.define(node.output)
    with integer_word(low, 0) as zero:
        emit_comparison(low, "equal", (target, source, everywhere(zero, source)), "i32")


def lower_is_nan(low: Lowering, node: Node) -> None:
    """Lower the test for what is not a number: such words differ from themselves."""
    (source,) = operands(low, node)
    emit_comparison(low, "not_equal", (low.storage.define(node.output), source, source), "f32")


def lower_where(low: Lowering, node: Node) -> None:
    """Lower a choice: a copy of the second branch, then the first one where the condition holds."""
    if is_token_integer(low.map, node.output):
        return
    condition, yes, no = operands(low, node)
    target = low.storage.define(node.output)
    low.copy_view(target, no)
    emit_select(low, target, yes, condition)


def lower_unary(low: Lowering, node: Node) -> None:
    """Lower a function of one operand; of integers by way of their binary32 values, or by integer instructions."""
    (source,) = operands(low, node)
    target = low.storage.define(node.output)
    if is_real(node.output):
        emit_map(low, target, source, *UNARY[node.op])
    elif node.op in ("neg", "abs", "relu"):
        with integer_word(low, 0) as zero:
            nothing = everywhere(zero, source)
            if node.op == "relu":
                emit_binary(low, "vmax", (target, source, nothing), "i32")
            else:
                emit_binary(low, "vsub", (target, nothing, source), "i32")
        if node.op == "abs":
            emit_binary(low, "vmax", (target, target, source), "i32")
    else:
        emit_map(low, target, source, "from_int")
        emit_map(low, target, target, *UNARY[node.op])
        emit_map(low, target, target, "to_int")


def lower_gelu(low: Lowering, node: Node) -> None:
    """Lower both forms of GELU."""
    (source,) = operands(low, node)
    fn = "gelu_tanh" if node.attributes["approximate"] == "tanh" else "gelu"
    emit_map(low, low.storage.define(node.output), source, fn)


def lower_cast(low: Lowering, node: Node) -> None:
    """Lower a conversion that changes words; others only rename the value."""
    source, result = node.operand(0), node.output
    if is_token_integer(low.map, result):
        return
    if is_token_integer(low.map, source):
        _convert_scalar(low, source, result)
        return
    view = low.storage.view(source)
    target = low.storage.define(result)
    if result.type.dtype == "bool":
        with integer_word(low, 0) as zero:
            emit_comparison(low, "not_equal", (target, view, everywhere(zero, view)), word_type(source))
    elif is_real(result):
        if not is_real(source):
            emit_map(low, target, view, "from_int")
        if loses_digits(source.type.dtype, result.type.dtype):
            emit_map(low, target, view if is_real(source) else target, result.type.dtype)
    else:
        if is_real(source):
            emit_map(low, target, view, "to_int")
        else:
            low.copy_view(target, view)
        _wrap(low, target, result.type.dtype)


_WIDTHS = {"int8": (256, 128), "uint8": (256, 0)}
"""Number of values of a narrow type, and how far its range lies below zero."""


def _wrap(low: Lowering, target: View, dtype: str) -> None:
    """Bring integers into the range of a narrow type, as two's complement does."""
    if dtype not in _WIDTHS:
        return
    values, below = _WIDTHS[dtype]
    size = low.storage.capacity_words(target)
    with (
        integer_word(low, values) as count,
        integer_word(low, below) as offset,
        integer_word(low, 1 << 24) as positive,
        low.storage.scratch(size, "a conversion") as words,
    ):
        quotient = low.dense(target, words)
        for number in (offset, positive):
            emit_binary(low, "vadd", (target, target, everywhere(number, target)), "i32")
        emit_binary(low, "vdiv", (quotient, target, everywhere(count, target)), "i32")
        emit_binary(low, "vmul", (quotient, quotient, everywhere(count, target)), "i32")
        emit_binary(low, "vsub", (target, target, quotient), "i32")
        emit_binary(low, "vsub", (target, target, everywhere(offset, target)), "i32")


def _convert_scalar(low: Lowering, source: Value, result: Value) -> None:
    """A token's integer from its register to a binary32 word."""
    register = token_integer(low, source)
    target = low.storage.define(result)
    low.emitter.emit("sts", target.words.operand, register)
    if is_real(result):
        low.emitter.emit("vmap", target.words.operand, target.words.operand, "from_int", 1)
    if loses_digits(source.type.dtype, result.type.dtype):
        low.emitter.emit("vmap", target.words.operand, target.words.operand, result.type.dtype, 1)


def lower_copy(low: Lowering, node: Node) -> None:
    """Lower identities and expansions whose result has words of its own."""
    if is_token_integer(low.map, node.output):
        return
    (source,) = operands(low, node)
    low.copy_view(low.storage.define(node.output), source)


def lower_range(low: Lowering, node: Node) -> None:
    """Lower a range over the tokens; integer ranges of rows live in registers, others count up in the buffer."""
    if is_token_integer(low.map, node.output):
        return
    target = low.storage.define(node.output)
    start, step = node.attributes["start"], node.attributes["step"]
    if low.storage.row is not None:
        register = low.emitter.register()
        range_element(low, register, start, int(step))
        low.emitter.emit("sts", target.words.operand, register)
        low.emitter.release(register)
    else:
        _count_up(low, target, node)
    if is_real(node.output):
        emit_map(low, target, target, "from_int")


def _count_up(low: Lowering, target: View, node: Node) -> None:
    value = low.extents.register(node.attributes["start"])
    with low.extents.operand(target.shape[0]) as count, low.emitter.loop(count) as number:
        low.emitter.emit("sts", Indexed(target.words.word, number), value)
        with low.extents.operand(node.attributes["step"]) as step:
            low.emitter.emit("add", value, value, step)
    low.emitter.release(value)


ELEMENTWISE: dict[str, Lower] = {
    **dict.fromkeys(_BINARY, lower_binary),
    **dict.fromkeys(_COMPARISONS, lower_comparison),
    **dict.fromkeys((*_LOGIC, "xor"), lower_logic),
    **dict.fromkeys(UNARY, lower_unary),
    "not": lower_not,
    "is_nan": lower_is_nan,
    "where": lower_where,
    "gelu": lower_gelu,
    "cast": lower_cast,
    "range": lower_range,
    **dict.fromkeys(("identity", "expand"), lower_copy),
}
