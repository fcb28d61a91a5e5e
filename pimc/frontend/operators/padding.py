"""Importer of Pad, by joining pieces."""

from __future__ import annotations

from isa import InputError, UnsupportedError
from passes import Dim
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results
from pimc.frontend.operators.selection import reversed_along
from pimc.frontend.operators.shape_ops import expanded, reshaped

_MODES = ("constant", "edge", "reflect", "wrap")


def padded(build: Builder, x: Operand, axis: int, amounts: tuple[int, int], value: Operand) -> Operand:
    """The operand with a value repeated before and behind along an axis; negative amounts cut."""
    if any(amount < 0 for amount in amounts):
        front, back = (max(0, -amount) for amount in amounts)
        size = build.shape(x)[axis]
        if isinstance(size, int) and size < front + back:
            raise InputError(f"{front} and {back} of {size} elements cannot be cut")
        x = cut(build, x, axis, front, build.shape(x)[axis] - back)
    before, behind = (_filling(build, x, axis, amount, value) for amount in amounts)
    return _joined(build, [*before, x, *behind], axis)


def _filling(build: Builder, x: Operand, axis: int, amount: int, value: Operand) -> list[Operand]:
    if amount <= 0:
        return []
    shape = tuple(amount if position == axis else dim for position, dim in enumerate(build.shape(x)))
    return [expanded(build, reshaped(build, value, ()), shape)]


def cut(build: Builder, x: Operand, axis: int, start: Dim, stop: Dim) -> Operand:
    """Part of an axis; nothing is emitted for all of it."""
    if (start, stop) == (0, build.shape(x)[axis]):
        return x
    return build.emit("slice", [x], {"axis": axis, "start": start, "stop": stop, "step": 1})


def _joined(build: Builder, pieces: list[Operand], axis: int) -> Operand:
    return pieces[0] if len(pieces) == 1 else build.emit("concat", pieces, {"axis": axis})


def _copied(build: Builder, x: Operand, axis: int, amounts: tuple[int, int], mode: str) -> Operand:
    """Padding with elements of the operand itself, which must have enough of them."""
    size, (front, back) = build.shape(x)[axis], amounts
    needed = {"edge": 1, "reflect": max(amounts) + 1, "wrap": max(amounts)}[mode]
    if min(amounts) < 0 or (isinstance(size, int) and size < needed):
        raise UnsupportedError(f"Pad of {size} elements by {front} and {back} in mode '{mode}' is not supported")
    build.symbols.demand_at_least(size, needed, build.node_name)
    pieces = [x]
    if front:
        start = {"edge": 0, "reflect": 1, "wrap": size - front}[mode]
        pieces = [_copy(build, x, axis, start, front, mode), x]
    if back:
        start = {"edge": size - 1, "reflect": size - 1 - back, "wrap": 0}[mode]
        pieces = [*pieces, _copy(build, x, axis, start, back, mode)]
    return _joined(build, pieces, axis)


def _copy(build: Builder, x: Operand, axis: int, start: Dim, count: int, mode: str) -> Operand:
    """`count` elements from `start` on: in order, in reverse order, or the first of them repeated."""
    if mode == "edge":
        shape = tuple(count if position == axis else dim for position, dim in enumerate(build.shape(x)))
        return expanded(build, cut(build, x, axis, start, start + 1), shape)
    piece = cut(build, x, axis, start, start + count)
    return reversed_along(build, piece, axis) if mode == "reflect" else piece


def _pad(node: OnnxNode) -> Results:
    build, x, mode = node.builder, node.operand(0), node.text("mode", "constant")
    if mode not in _MODES:
        raise InputError(f"the mode '{mode}' of Pad must be one of {', '.join(_MODES)}")
    axes = node.axes(3, build.rank(x)) or tuple(range(build.rank(x)))
    pads = node.fixed(1, "pads of Pad")
    if len(pads) != 2 * len(axes):
        raise InputError(f"Pad has {len(pads)} pads for {len(axes)} axes")
    value = node.optional(2) or build.scalar(0, x.type.dtype)
    for position, axis in enumerate(axes):
        amounts = (pads[position], pads[position + len(axes)])
        if mode == "constant":
            x = padded(build, x, axis, amounts, value)
        elif amounts != (0, 0):
            x = _copied(build, x, axis, amounts, mode)
    return x


PADDING: dict[str, Importer] = {"Pad": _pad}
