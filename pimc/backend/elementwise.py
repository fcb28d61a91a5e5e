"""Element-wise operations, copies and reductions on the vector unit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product as combinations

from isa import Place, UnsupportedError
from passes import Node, Value, constant_scalar
from pimc.backend.emitter import Words
from pimc.backend.lowering import Lower, Lowering
from pimc.backend.scalars import is_token_integer, range_element, token_integer
from pimc.backend.storage import alias

_BINARY = {"add": "vadd", "sub": "vsub", "mul": "vmul", "div": "vdiv", "max": "vmax", "min": "vmin"}
_UNARY = {
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
    "neg": ("copy", -1.0),
}


def _token_strides(low: Lowering, operand: Value, result: Value) -> list[int]:
    """Words from element to element along each axis of the result's token part; 0 where the operand is broadcast."""
    shape = list(low.axes.token_shape(operand))
    token_axis = low.axes.axes.get(result)
    if token_axis is not None and operand not in low.axes.axes:
        from_right = result.type.rank - token_axis
        if operand.type.rank >= from_right:
            del shape[operand.type.rank - from_right]
    target = low.axes.token_shape(result)
    shape = [1] * (len(target) - len(shape)) + shape
    strides, step = [0] * len(target), 1
    for axis in range(len(target) - 1, -1, -1):
        strides[axis] = step if shape[axis] != 1 else 0
        step *= shape[axis]
    return strides


def _collapse(shape: tuple[int, ...], strides: list[list[int]]) -> tuple[list[int], list[list[int]]]:
    """Join neighbouring axes that every operand walks evenly; drop axes of size 1."""
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        if sizes and all(done[-1] == own[axis] * size for done, own in zip(steps, strides, strict=True)):
            sizes[-1] *= size
            for done, own in zip(steps, strides, strict=True):
                done[-1] = own[axis]
        else:
            sizes.append(size)
            for done, own in zip(steps, strides, strict=True):
                done.append(own[axis])
    return sizes, steps


def ranges(
    low: Lowering, result: Value, operands: list[Value]
) -> Iterator[tuple[list[int], int, int, list[int], list[int]]]:
    """Two-dimensional pieces that cover a broadcast operation.

    Yields:
        (offsets, rows, length, row strides, steps), the lists for the result and then each operand.
    """
    shape = low.axes.token_shape(result)
    strides = [_token_strides(low, value, result) for value in (result, *operands)]
    sizes, steps = _collapse(shape, strides)
    sizes, steps = [1] * (2 - len(sizes)) + sizes, [[0] * (2 - len(s)) + s for s in steps]
    for outer in combinations(*(range(size) for size in sizes[:-2])):
        offsets = [sum(i * s for i, s in zip(outer, own, strict=False)) for own in steps]
        last = [own[-1] if sizes[-1] > 1 else 1 for own in steps]
        _check_steps(result, last)
        yield offsets, sizes[-2], sizes[-1], [own[-2] for own in steps], last


_LARGEST_STEP = 2047
"""What the step fields of vector instructions hold."""


def _check_steps(result: Value, steps: list[int]) -> None:
    if not all(0 <= step <= _LARGEST_STEP for step in steps):
        raise UnsupportedError(
            f"the elements that '{result.name}' is made of lie {max(steps, key=abs)} words apart",
            Place(node=result.producer.name if result.producer else None),
            notes=[f"vector instructions step by 0 to {_LARGEST_STEP} words"],
        )


def lower_binary(low: Lowering, node: Node) -> None:
    """Lower a broadcast binary operation; a constant number becomes part of a `vmap`."""
    if is_token_integer(node.output):
        return
    left, right = node.operand(0), node.operand(1)
    affine = _affine(node.op, constant_scalar(left), constant_scalar(right))
    if affine is not None:
        variable = right if constant_scalar(left) is not None else left
        _map(low, node.output, variable, "copy", *affine)
        return
    target = low.storage.define(node.output)
    a, b = low.storage.words(left), low.storage.words(right)
    for offsets, rows, length, row, step in ranges(low, node.output, [left, right]):
        low.emitter.emit(
            _BINARY[node.op],
            (target + offsets[0]).operand,
            (a + offsets[1]).operand,
            (b + offsets[2]).operand,
            length,
            rows,
            *row,
            *step,
        )


def _affine(op: str, left: float | None, right: float | None) -> tuple[float, float] | None:
    """(scale, bias) of an operation with one constant operand."""
    if right is not None:
        return {"add": (1.0, right), "sub": (1.0, -right), "mul": (right, 0.0)}.get(op)
    if left is not None:
        return {"add": (1.0, left), "sub": (-1.0, left), "mul": (left, 0.0)}.get(op)
    return None


def lower_unary(low: Lowering, node: Node) -> None:
    """Lower a function of one operand."""
    fn, scale = _UNARY[node.op]
    _map(low, node.output, node.operand(0), fn, scale)


def lower_gelu(low: Lowering, node: Node) -> None:
    """Lower both forms of GELU."""
    fn = "gelu_tanh" if node.attributes["approximate"] == "tanh" else "gelu"
    _map(low, node.output, node.operand(0), fn)


_POWERS = {0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal", 1.0: "copy"}
_MOST_FACTORS = 8


def lower_power(low: Lowering, node: Node) -> None:
    """Lower a power with a constant exponent: roots and reciprocals as functions, small integers as products."""
    exponent = constant_scalar(node.inputs[1])
    if exponent in _POWERS:
        _map(low, node.output, node.operand(0), _POWERS[exponent])
        return
    if exponent is None or exponent != int(exponent) or not 2 <= exponent <= _MOST_FACTORS:
        raise UnsupportedError(
            f"pow with the exponent {exponent} cannot be lowered",
            Place(node=node.name),
            help=f"constant exponents {', '.join(map(str, _POWERS))} and 2 to {_MOST_FACTORS} can",
        )
    target, source = low.storage.define(node.output).operand, low.storage.words(node.operand(0)).operand
    length = low.axes.words(node.output)
    low.emitter.emit("vmul", target, source, source, length)
    for _ in range(int(exponent) - 2):
        low.emitter.emit("vmul", target, target, source, length)


def lower_cast(low: Lowering, node: Node) -> None:
    """Lower int to float through the buffer; other casts between floats only rename the value."""
    source = node.operand(0)
    if is_token_integer(node.output) or alias(node, node.output, low.axes) is not None:
        return
    target = low.storage.define(node.output)
    if source.producer is None:
        words = low.axes.words(source)
        low.emitter.emit("vmap", target.operand, low.storage.words(source).operand, "from_int", words)
        return
    low.emitter.emit("sts", target.operand, token_integer(low, source))
    low.emitter.emit("vmap", target.operand, target.operand, "from_int", 1)


def lower_view(low: Lowering, node: Node) -> None:
    """Lower slice, transpose and expand: nothing for a contiguous part, else a strided copy."""
    if is_token_integer(node.output) or alias(node, node.output, low.axes) is not None:
        return
    source = low.storage.words(node.operand(0))
    target = low.storage.define(node.output)
    start, strides = _view_strides(low, node)
    shape = low.axes.token_shape(node.output)
    dense = _token_strides(low, node.output, node.output)
    sizes, steps = _collapse(shape, [dense, strides])
    sizes, steps = [1] * (2 - len(sizes)) + sizes, [[0] * (2 - len(s)) + s for s in steps]
    for outer in combinations(*(range(size) for size in sizes[:-2])):
        to, of = (sum(i * s for i, s in zip(outer, own, strict=False)) for own in steps)
        place = (target + to).operand, (source + start + of).operand
        row = [own[-2] for own in steps]
        step = [own[-1] if sizes[-1] > 1 else 1 for own in steps]
        _check_steps(node.output, step)
        low.emitter.emit("vmap", *place, "copy", sizes[-1], sizes[-2], 1.0, 0.0, *row, *step)


def _view_strides(low: Lowering, node: Node) -> tuple[int, list[int]]:
    """(first word, words from element to element along each axis of the result) in the operand's token part."""
    operand, result = node.operand(0), node.output
    if node.op == "expand":
        return 0, _token_strides(low, operand, result)
    dense = _token_strides(low, operand, operand)
    token_axis = low.axes.axes.get(operand)
    full = list(dense)
    if token_axis is not None:
        full.insert(token_axis, 0)
    start = 0
    if node.op == "transpose":
        full = [full[axis] for axis in node.attributes["perm"]]
    else:
        axis = int(node.attributes["axis"]) % operand.type.rank
        start = int(node.attributes["start"]) * full[axis]
        full[axis] *= int(node.attributes["step"])
    result_axis = low.axes.axes.get(result)
    return start, [stride for axis, stride in enumerate(full) if axis != result_axis]


def lower_concat(low: Lowering, node: Node) -> None:
    """Lower a concatenation: one copy an operand."""
    axis = int(node.attributes["axis"]) % node.output.type.rank
    token_axis = low.axes.axes.get(node.output)
    shape = low.axes.token_shape(node.output)
    own_axis = axis - (1 if token_axis is not None and token_axis < axis else 0)
    inner = _size(shape[own_axis + 1 :])
    outer = _size(shape[:own_axis])
    target, place = low.storage.define(node.output), 0
    for operand in node.inputs:
        assert operand is not None
        width = low.axes.token_shape(operand)[own_axis] * inner
        source = low.storage.words(operand)
        stride = shape[own_axis] * inner
        to = (target + place).operand
        low.emitter.emit("vmap", to, source.operand, len=width, rows=outer, dst_row=stride, a_row=width)
        place += width


def _size(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def lower_row_mean(low: Lowering, node: Node) -> None:
    """Lower a sum or mean over the last axis."""
    source = node.operand(0)
    shape = low.axes.token_shape(source)
    axes = {int(axis) % source.type.rank for axis in node.attributes["axes"]}
    if axes != {source.type.rank - 1}:
        raise UnsupportedError(f"{node.op} over the axes {sorted(axes)} cannot be lowered", Place(node=node.name))
    rows, length = _size(shape[:-1]), shape[-1]
    target = low.storage.define(node.output)
    low.emitter.emit("rsum", target.operand, low.storage.words(source).operand, length, rows, a_row=length)
    if node.op == "reduce_mean":
        low.emitter.emit("vmap", target.operand, target.operand, "copy", rows, scale=1.0 / length)


def _map(low: Lowering, result: Value, source: Value, fn: str, scale: float = 1.0, bias: float = 0.0) -> None:
    target = low.storage.define(result)
    words: Words = low.storage.words(source)
    for offsets, rows, length, row, step in ranges(low, result, [source]):
        place = (target + offsets[0]).operand, (words + offsets[1]).operand
        low.emitter.emit("vmap", *place, fn, length, rows, scale, bias, *row, *step)


def lower_range(low: Lowering, node: Node) -> None:
    """Lower a float range over the tokens; integer ranges live in registers."""
    if is_token_integer(node.output):
        return
    target, register = low.storage.define(node.output), low.emitter.register()
    range_element(low, register, node.attributes["start"], int(node.attributes["step"]))
    low.emitter.emit("sts", target.operand, register)
    low.emitter.emit("vmap", target.operand, target.operand, "from_int", 1)
    low.emitter.release(register)


ELEMENTWISE: dict[str, Lower] = {
    **dict.fromkeys(_BINARY, lower_binary),
    **dict.fromkeys(_UNARY, lower_unary),
    "gelu": lower_gelu,
    "pow": lower_power,
    "cast": lower_cast,
    "range": lower_range,
    **dict.fromkeys(("slice", "transpose", "expand"), lower_view),
    "concat": lower_concat,
    **dict.fromkeys(("reduce_sum", "reduce_mean"), lower_row_mean),
}
