"""Importers of the operators that pick elements: slices and gathers."""

from __future__ import annotations

from isa import UnsupportedError
from passes import Affine, Dim
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.index_bounds import Interval, component_bounds, index_bounds
from pimc.frontend.onnx_node import Importer, OnnxNode, Results, normal_axis
from pimc.frontend.operators.shape_ops import reshaped
from pimc.frontend.symbols import at_most, dimensions_help, lower_bound

_TO_THE_END = (1 << 31) - 1
"""Slice ends at or above this number, or below its negative, mean `to the end`: limits of int32 or int64.

To ONNX Runtime the largest one means that backwards, too."""


def _slice(node: OnnxNode) -> Results:
    """One graph operation an axis; ends are clamped and negative positions counted from the end, here, once."""
    build, x = node.builder, node.operand(0)
    starts, stops = node.dims(1, "starts of Slice"), node.dims(2, "ends of Slice")
    rank = build.rank(x)
    axes = [normal_axis(axis, rank) for axis in node.fixed(3, "axes of Slice")] if node.optional(3) else range(rank)
    steps = node.fixed(4, "steps of Slice") if node.optional(4) else [1] * len(starts)
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=False):
        x = _sliced(build, x, axis, (start, stop, step))
    return x


def _sliced(build: Builder, x: Operand, axis: int, cut: tuple[Dim, Dim, int]) -> Operand:
    size = build.shape(x)[axis]
    start, stop, step = cut
    if size == 0:
        return x
    if step > 0:
        first, last = _position(build, start, size, 0, size), _position(build, stop, size, 0, size)
    else:
        if isinstance(stop, int) and stop >= _TO_THE_END:
            stop = -_TO_THE_END - 1
        first, last = _position(build, start, size, 0, size - 1), _position(build, stop, size, -1, size - 1)
    if (first, last, step) == (0, size, 1):
        return x
    if isinstance(first, int) and isinstance(last, int):
        if (last - first) * step <= 0:
            first, last, step = 0, 0, 1
    else:
        build.symbols.demand_at_least(*((last, first) if step > 0 else (first, last)), build.node_name)
    return build.emit("slice", [x], {"axis": axis, "start": first, "stop": last, "step": step})


def _position(build: Builder, given: Dim, size: Dim, lowest: Dim, highest: Dim) -> Dim:
    """A slice position clamped to [lowest, highest]; where that is not decided by the symbols it is demanded."""
    position = given
    if isinstance(given, int):
        if given >= _TO_THE_END:
            return highest
        if given < -_TO_THE_END:
            return lowest
        position = given + size if given < 0 else given
    else:
        low, high = lower_bound(given), lower_bound(-given)
        if low is None and high is not None and high >= 0:
            position = given + size
        elif low is None and high is not None:
            lengths = Affine(tuple((name, -factor) for name, factor in given.terms if factor < 0))
            build.symbols.demand_at_least(given + lengths, lengths, build.node_name)
        elif low is None or low < 0:
            message = f"the slice position '{given}' may be negative"
            raise UnsupportedError(message, help=dimensions_help([given]))
    return _clamped(build, position, lowest, highest)


def _clamped(build: Builder, position: Dim, lowest: Dim, highest: Dim) -> Dim:
    if at_most(position, lowest):
        return lowest
    if at_most(highest, position):
        return highest
    if not at_most(lowest, position):
        build.symbols.demand_at_least(position, lowest, build.node_name)
    if not at_most(position, highest):
        build.symbols.demand_at_least(highest, position, build.node_name)
    return position


def _demand(build: Builder, size: Dim, bounds: Interval | None) -> None:
    """Note how long an axis must be so that all indices lie in it.

    Bounds of indices may be wider than the indices are, so that they do not limit an axis by a number.
    """
    is_open = bounds is not None and isinstance(size, Affine) and isinstance(bounds[1], int)
    if bounds is not None and not is_open and not at_most(bounds[1] + 1, size):
        build.symbols.demand_at_least(size, bounds[1] + 1, build.node_name)


def gathered(build: Builder, x: Operand, indices: Operand, axis: int) -> Operand:
    """Positions of an axis, which is demanded to be long enough for them."""
    result = build.emit("gather", [x, indices], {"axis": axis})
    if result.value is not None:
        _demand(build, build.shape(x)[axis], index_bounds(build.value(indices)))
    return result


def _gather(node: OnnxNode) -> Results:
    x = node.operand(0)
    return gathered(node.builder, x, node.operand(1), node.axis(node.builder.rank(x), 0))


def _gather_elements(node: OnnxNode) -> Results:
    build, x, indices = node.builder, node.operand(0), node.operand(1)
    axis = node.axis(build.rank(x), 0)
    result = build.emit("gather_elements", [x, indices], {"axis": axis})
    if result.value is not None:
        _demand(build, build.shape(x)[axis], index_bounds(build.value(indices)))
    return result


def _gather_nd(node: OnnxNode) -> Results:
    build, x, indices = node.builder, node.operand(0), node.operand(1)
    batch_dims = node.integer("batch_dims", 0)
    result = build.emit("gather_nd", [x, indices], {"batch_dims": batch_dims})
    depth = build.shape(indices)[-1]
    if result.value is not None and isinstance(depth, int):
        for component in range(depth):
            bounds = component_bounds(build.value(indices), component)
            _demand(build, build.shape(x)[batch_dims + component], bounds)
    return result


def _one_hot(node: OnnxNode) -> Results:
    """Equal to 0, 1, ... depth - 1 along a new axis, then the `on` or the `off` value."""
    build, indices, values = node.builder, node.operand(0), node.operand(2)
    number = node.single(1).constant
    depth = node.dim(1, "depth of OneHot") if number is None else int(number.reshape(()))
    axis = normal_axis(node.integer("axis", -1), build.rank(indices) + 1)
    if indices.type.dtype != "int64":
        indices = build.emit("cast", [indices], {"to": "int64"})
    negative = build.emit("less", [indices, build.scalar(0, "int64")])
    width = build.emit("reshape", [build.dims([depth])], {"shape": ()})
    indices = build.emit("where", [negative, build.emit("add", [indices, width]), indices])
    shape = build.shape(indices)
    column = build.emit("range", [], {"start": 0, "stop": depth, "step": 1, "to": "int64"})
    column = reshaped(build, column, (depth, *(1 for _ in shape[axis:])))
    hot = build.emit("equal", [reshaped(build, indices, (*shape[:axis], 1, *shape[axis:])), column])
    build.symbols.unify(build.shape_of_rank(values, 1)[0], 2, "OneHot")
    off, on = build.emit_many("split", [values], {"axis": 0, "sizes": (1, 1)})
    return build.emit("where", [hot, reshaped(build, on, ()), reshaped(build, off, ())])


INDEXING: dict[str, Importer] = {
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "OneHot": _one_hot,
}
