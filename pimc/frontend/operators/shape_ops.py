"""Importers of the operators that make shapes, constants and new views of the same elements."""

from __future__ import annotations

import numpy as np

from isa import InputError, Place, UnsupportedError
from passes import Affine, Dim, product
from pimc.frontend.builder import Array, Builder, Operand
from pimc.frontend.dim_products import quotient
from pimc.frontend.inference import broadcast
from pimc.frontend.onnx_node import Importer, OnnxNode, Results, distinct, normal_axis
from pimc.frontend.symbols import dimensions_help
from pimc.frontend.tensors import dtype_name

_MOST_PIECES = 1 << 16
"""Results that Split may have."""


def _shape(node: OnnxNode) -> Results:
    """Dimensions `start` to `end`; both are clamped, negative ones count from the end."""
    dims = node.builder.shape(node.operand(0))
    return node.builder.dims(dims[node.integer("start", 0) : node.integer("end", len(dims))])


def _size(node: OnnxNode) -> Results:
    build = node.builder
    count = build.dims([quotient(build.symbols, build.shape(node.operand(0)), ())])
    return build.emit("reshape", [count], {"shape": ()})


def reshaped(build: Builder, x: Operand, shape: tuple[Dim, ...]) -> Operand:
    """The operand under another shape; nothing is emitted when it has it already."""
    return x if build.shape(x) == build.symbols.resolve_all(shape) else build.emit("reshape", [x], {"shape": shape})


def _reshape(node: OnnxNode) -> Results:
    """0 copies a dimension unless `allowzero`; -1 is what remains of the elements."""
    build, x = node.builder, node.operand(0)
    old, wanted = build.shape(x), node.dims(1, "shape of Reshape")
    if not node.integer("allowzero", 0):
        if any(dim == 0 and axis >= len(old) for axis, dim in enumerate(wanted)):
            raise InputError(f"the shape {wanted} copies a dimension that a tensor of rank {len(old)} does not have")
        wanted = [old[axis] if dim == 0 else dim for axis, dim in enumerate(wanted)]
    if wanted.count(-1) > 1:
        raise InputError(f"the shape {wanted} has more than one -1")
    if -1 in wanted:
        others = [dim for dim in wanted if dim != -1]
        wanted[wanted.index(-1)] = quotient(build.symbols, old, others)
    return reshaped(build, x, tuple(wanted))


def _unsqueeze(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    given = node.fixed(1, "axes of Unsqueeze")
    axes = distinct([normal_axis(axis, build.rank(x) + len(given)) for axis in given])
    rest = iter(build.shape(x))
    shape = tuple(1 if axis in axes else next(rest) for axis in range(build.rank(x) + len(axes)))
    return reshaped(build, x, shape)


def _squeeze(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    axes = node.axes(1, build.rank(x))
    if axes is None:
        _check_squeezable(build.shape(x))
        axes = tuple(axis for axis, dim in enumerate(build.shape(x)) if dim == 1)
    return reshaped(build, x, tuple(dim for axis, dim in enumerate(build.shape(x)) if axis not in axes))


def _check_squeezable(shape: tuple[Dim, ...]) -> None:
    symbolic = [dim for dim in shape if isinstance(dim, Affine)]
    if symbolic:
        listed = ", ".join(map(str, symbolic))
        message = f"Squeeze without axes drops the dimensions that are 1, but {listed} may be 1 or not"
        raise UnsupportedError(message, help=dimensions_help(symbolic))


def _flatten(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    shape, axis = build.shape(x), node.integer("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return reshaped(build, x, (quotient(build.symbols, shape[:axis], ()), quotient(build.symbols, shape[axis:], ())))


def _transpose(node: OnnxNode) -> Results:
    rank = node.builder.rank(node.operand(0))
    perm = node.integers("perm") or tuple(reversed(range(rank)))
    if sorted(perm) != list(range(rank)):
        raise InputError(f"{list(perm)} is not a permutation of the axes of a tensor of rank {rank}")
    return node.builder.emit("transpose", [node.operand(0)], {"perm": perm})


def expanded(build: Builder, x: Operand, shape: tuple[Dim, ...]) -> Operand:
    """The operand broadcast to a shape; nothing is emitted when it has it already."""
    return x if build.shape(x) == build.symbols.resolve_all(shape) else build.emit("expand", [x], {"shape": shape})


def _expand(node: OnnxNode) -> Results:
    """Both sides broadcast: where the wanted shape has 1, the operand's dimension stays."""
    build, x = node.builder, node.operand(0)
    return expanded(build, x, broadcast(build.symbols, [build.shape(x), node.dims(1, "shape of Expand")]))


def _tile(node: OnnxNode) -> Results:
    """Each repeated axis becomes (repeats, dimension) by expansion, then both are merged."""
    build, x = node.builder, node.operand(0)
    shape, repeats = build.shape(x), node.dims(1, "repeats of Tile")
    if len(repeats) != len(shape):
        raise InputError(f"Tile has {len(repeats)} repeats for {x.type}")
    apart: list[Dim] = []
    repeated: list[Dim] = []
    for dim, count in zip(shape, repeats, strict=True):
        apart += [dim] if count == 1 else [1, dim]
        repeated += [dim] if count == 1 else [count, dim]
    merged = tuple(product((dim, count)) for dim, count in zip(shape, repeats, strict=True))
    return reshaped(build, expanded(build, reshaped(build, x, tuple(apart)), tuple(repeated)), merged)


def _concat(node: OnnxNode) -> Results:
    operands = [node.operand(index) for index in range(len(node.inputs))]
    axis = node.axis(node.builder.rank(operands[0]))
    return operands[0] if len(operands) == 1 else node.builder.emit("concat", operands, {"axis": axis})


def _split(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    axis = node.axis(build.rank(x), 0)
    if node.optional(1) is not None:
        sizes = tuple(node.dims(1, "sizes of Split"))
    else:
        sizes = _equal_sizes(build.shape(x)[axis], node.integer("num_outputs", node.result_count))
    return (x,) if len(sizes) == 1 else build.emit_many("split", [x], {"axis": axis, "sizes": sizes})


def _equal_sizes(total: Dim, pieces: int) -> tuple[Dim, ...]:
    """Equal pieces; the last one is smaller when they do not divide."""
    if not 0 < pieces <= _MOST_PIECES:
        raise InputError(f"Split cannot give {pieces} pieces")
    if not isinstance(total, int):
        return (total // pieces,) * pieces
    size = -(-total // pieces)
    return tuple(min(size, max(0, total - size * piece)) for piece in range(pieces))


def _constant(node: OnnxNode) -> Results:
    array = node.array("value")
    if array is not None:
        return node.builder.constant(array)
    if "value_int" in node.attributes:
        return node.builder.scalar(node.integer("value_int"), "int64")
    if "value_float" in node.attributes:
        return node.builder.scalar(node.number("value_float"), "float32")
    integers, floats = node.integers("value_ints"), node.numbers("value_floats")
    if integers is not None:
        return node.builder.constant(np.array(integers, np.int64))
    if floats is not None:
        return node.builder.constant(np.array(floats, np.float32))
    raise UnsupportedError("constants of strings and sparse constants are not supported")


def _constant_of_shape(node: OnnxNode) -> Results:
    build = node.builder
    value: Array | None = node.array("value")
    if value is not None and value.size != 1:
        raise InputError(f"the value of ConstantOfShape has {value.size} elements, but must have one")
    filling = np.zeros((), np.float32) if value is None else value.reshape(())
    return expanded(build, build.constant(filling), tuple(node.dims(0, "shape of ConstantOfShape")))


def _range(node: OnnxNode) -> Results:
    build, dtype = node.builder, node.operand(0).type.dtype
    numbers: list[Dim | float] = []
    for index, what in enumerate(("start", "limit", "delta")):
        operand = node.single(index)
        if operand.type.dtype != dtype:
            raise InputError(f"the {what} of Range is {operand.type.dtype}, but its start is {dtype}")
        if "float" in dtype and operand.constant is not None:
            numbers.append(float(operand.constant.reshape(())))
        else:
            numbers.append(node.dim(index, f"{what} of Range"))
    attributes = dict(zip(("start", "stop", "step"), numbers, strict=True))
    return build.emit("range", [], {**attributes, "to": dtype})


def _trilu(node: OnnxNode) -> Results:
    if node.builder.rank(node.operand(0)) < 2:
        raise InputError(f"{node.operand(0).type} is no matrix")
    diagonal: Dim = node.dim(1, "diagonal of Trilu") if node.optional(1) is not None else 0
    attributes = {"upper": bool(node.integer("upper", 1)), "diagonal": diagonal}
    return node.builder.emit("trilu", [node.operand(0)], attributes)


def _block(node: OnnxNode) -> tuple[Dim, Dim, Dim, Dim, int]:
    """Batch, channels, height, width and the size of a block."""
    size = node.integer("blocksize")
    if size < 1:
        raise InputError(f"the attribute 'blocksize' of {node.operator} is {size}, but must be above 0")
    batch, channels, height, width = node.builder.shape_of_rank(node.operand(0), 4)
    return batch, channels, height, width, size


def _depth_to_space(node: OnnxNode) -> Results:
    """Channels become blocks of pixels; in mode CRD the channel of the result varies slowest."""
    build, (batch, channels, height, width, size) = node.builder, _block(node)
    depth, is_last = channels // (size * size), node.text("mode", "DCR") == "CRD"
    apart = (batch, depth, size, size, height, width) if is_last else (batch, size, size, depth, height, width)
    perm = (0, 1, 4, 2, 5, 3) if is_last else (0, 3, 4, 1, 5, 2)
    turned = build.emit("transpose", [reshaped(build, node.operand(0), apart)], {"perm": perm})
    return reshaped(build, turned, (batch, depth, height * size, width * size))


def _space_to_depth(node: OnnxNode) -> Results:
    """Blocks of pixels become channels; in mode CRD the channel of the operand varies slowest."""
    build, (batch, channels, height, width, size) = node.builder, _block(node)
    apart = reshaped(build, node.operand(0), (batch, channels, height // size, size, width // size, size))
    perm = (0, 1, 3, 5, 2, 4) if node.text("mode", "DCR") == "CRD" else (0, 3, 5, 1, 2, 4)
    turned = build.emit("transpose", [apart], {"perm": perm})
    return reshaped(build, turned, (batch, channels * (size * size), height // size, width // size))


def _eye_like(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    rows, columns = build.shape_of_rank(x, 2)
    dtype = dtype_name(node.integer("dtype"), Place(node=node.name)) if "dtype" in node.attributes else x.type.dtype
    row = build.emit("range", [], {"start": 0, "stop": rows, "step": 1, "to": "int64"})
    column = build.emit("range", [], {"start": 0, "stop": columns, "step": 1, "to": "int64"})
    moved = build.emit("add", [reshaped(build, row, (rows, 1)), build.scalar(node.integer("k", 0), "int64")])
    return build.emit("cast", [build.emit("equal", [column, moved])], {"to": dtype})


SHAPE_OPS: dict[str, Importer] = {
    "Shape": _shape,
    "Size": _size,
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Expand": _expand,
    "Tile": _tile,
    "Concat": _concat,
    "Split": _split,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Trilu": _trilu,
    "EyeLike": _eye_like,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
