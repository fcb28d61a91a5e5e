"""Importers of the operators that write into a copy of a tensor."""

from __future__ import annotations

from isa import InputError
from passes import Dim
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results, normal_axis
from pimc.frontend.operators.elementwise import cast
from pimc.frontend.operators.shape_ops import expanded, reshaped

_REDUCTIONS = ("none", "add", "mul", "max", "min")


def _reduction(node: OnnxNode) -> str:
    reduction = node.text("reduction", "none")
    if reduction not in _REDUCTIONS:
        raise InputError(f"the reduction '{reduction}' of {node.operator} must be one of {', '.join(_REDUCTIONS)}")
    return reduction


def _scatter_nd(node: OnnxNode) -> Results:
    operands = [node.operand(0), node.operand(1), node.operand(2)]
    return node.builder.emit("scatter_nd", operands, {"reduction": _reduction(node)})


def _scatter_elements(node: OnnxNode) -> Results:
    """ScatterND with the position of every element spelled out."""
    build, x, indices, updates = node.builder, node.operand(0), node.operand(1), node.operand(2)
    shape, axis = build.shape(indices), node.axis(build.rank(x), 0)
    if len(shape) != build.rank(x) or build.rank(updates) != len(shape):
        raise InputError(f"the indices {indices.type} and updates {updates.type} do not fit {x.type}")
    columns = [
        from_the_front(build, indices, build.shape(x)[axis]) if position == axis else grid(build, shape, position)
        for position in range(len(shape))
    ]
    places = build.emit("concat", [reshaped(build, c, (*shape, 1)) for c in columns], {"axis": len(shape)})
    return build.emit("scatter_nd", [x, places, updates], {"reduction": _reduction(node)})


def grid(build: Builder, shape: tuple[Dim, ...], axis: int) -> Operand:
    """int64 of a shape that holds each element's position along one axis."""
    row = build.emit("range", [], {"start": 0, "stop": shape[axis], "step": 1, "to": "int64"})
    return expanded(build, reshaped(build, row, (shape[axis], *(1 for _ in shape[axis + 1 :]))), shape)


def from_the_front(build: Builder, indices: Operand, size: Dim) -> Operand:
    """int64 indices with the negative ones, which count from the end, counted from the front."""
    wide = cast(build, indices, "int64")
    negative = build.emit("less", [wide, build.scalar(0, "int64")])
    return build.emit("where", [negative, build.emit("add", [wide, scalar_dim(build, size)]), wide])


def scalar_dim(build: Builder, dim: Dim) -> Operand:
    """A dimension as an int64 scalar."""
    return build.emit("reshape", [build.dims([dim])], {"shape": ()})


def _tensor_scatter(node: OnnxNode) -> Results:
    """New rows of a cache of fixed length: sequence b's rows go to its write index and on, in a ring on request."""
    build, cache, update, start = node.builder, node.operand(0), node.operand(1), node.optional(2)
    axis = normal_axis(node.integer("axis", -2), build.rank(cache))
    if axis == 0 or build.rank(update) != build.rank(cache):
        raise InputError(f"the rows {update.type} cannot be written along axis {axis} of {cache.type}")
    mode = node.text("mode", "linear")
    if mode not in ("linear", "circular"):
        raise InputError(f"the mode '{mode}' of TensorScatter must be linear or circular")
    front = (0, axis, *(other for other in range(1, build.rank(cache)) if other != axis))
    rows = build.emit("transpose", [update], {"perm": front})
    batch, length = build.shape(rows)[:2]
    places = grid(build, (batch, length), 1)
    if start is not None:
        places = build.emit("add", [places, reshaped(build, cast(build, start, "int64"), (batch, 1))])
    if mode == "circular":
        places = build.emit("mod", [places, scalar_dim(build, build.shape(cache)[axis])])
    columns = [reshaped(build, column, (batch, length, 1)) for column in (grid(build, (batch, length), 0), places)]
    indices = build.emit("concat", columns, {"axis": 2})
    turned = build.emit("transpose", [cache], {"perm": front})
    written = build.emit("scatter_nd", [turned, indices, rows], {"reduction": "none"})
    back = tuple(front.index(other) for other in range(len(front)))
    return build.emit("transpose", [written], {"perm": back})


SCATTER: dict[str, Importer] = {
    "Scatter": _scatter_elements,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "TensorScatter": _tensor_scatter,
}
