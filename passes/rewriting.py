"""The small steps of rewrites: new nodes that simplify themselves, replacement, removal of what is dead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from passes.dims import Affine, Dim
from passes.ir import Attribute, Graph, Node, TensorType, Value


def origins_of(nodes: Iterable[Node]) -> tuple[str, ...]:
    """Names of all ONNX nodes that the given nodes came from, each once."""
    return tuple(dict.fromkeys(origin for node in nodes for origin in node.origins))


def add(
    graph: Graph,
    op: str,
    inputs: Sequence[Value | None],
    type: TensorType,
    origins: Iterable[str],
    attributes: dict[str, Attribute] | None = None,
) -> Value:
    """Append a node with one result and return the result."""
    return graph.add_node(op, inputs, [type], attributes, origins=origins).output


def reshape(graph: Graph, value: Value, shape: Sequence[Dim], origins: Iterable[str]) -> Value:
    """`value` under another shape; reshapes that it comes from are skipped, constants become views."""
    while value.producer is not None and value.producer.op == "reshape":
        value = value.producer.operand(0)
    if value.shape == tuple(shape):
        return value
    sizes = [size for size in shape if isinstance(size, int)]
    if value.constant is not None and len(sizes) == len(shape):
        return graph.add_constant(np.asarray(value.constant).reshape(sizes), value.name, value.type.dtype)
    kind = TensorType(value.type.dtype, tuple(shape))
    return add(graph, "reshape", [value], kind, origins, {"shape": tuple(shape)})


def transpose(graph: Graph, value: Value, perm: Sequence[int], origins: Iterable[str]) -> Value:
    """`value` with permuted axes; a transpose that it comes from is merged, constants become views."""
    perm = tuple(perm)
    source = value.producer
    if source is not None and source.op == "transpose":
        inner: tuple[int, ...] = source.attributes["perm"]
        value, perm = source.operand(0), tuple(inner[axis] for axis in perm)
    if perm == tuple(range(len(perm))):
        return value
    if value.constant is not None:
        return graph.add_constant(np.asarray(value.constant).transpose(perm), value.name, value.type.dtype)
    kind = TensorType(value.type.dtype, tuple(value.shape[axis] for axis in perm))
    return add(graph, "transpose", [value], kind, origins, {"perm": perm})


def cast(graph: Graph, value: Value, dtype: str, origins: Iterable[str]) -> Value:
    """`value` as `dtype`; constants are converted."""
    if value.type.dtype == dtype:
        return value
    if value.constant is not None:
        with np.errstate(over="ignore"):  # what a narrow type cannot hold becomes infinite
            return graph.add_constant(np.asarray(value.constant).astype(dtype), value.name, dtype)
    return add(graph, "cast", [value], TensorType(dtype, value.shape), origins, {"to": dtype})


def expand(graph: Graph, value: Value, shape: Sequence[Dim], origins: Iterable[str]) -> Value:
    """`value` broadcast to a shape of the same rank; constants are broadcast when the shape is known."""
    if value.shape == tuple(shape):
        return value
    sizes = [size for size in shape if isinstance(size, int)]
    if value.constant is not None and len(sizes) == len(shape):
        return graph.add_constant(np.broadcast_to(value.constant, sizes), value.name, value.type.dtype)
    kind = TensorType(value.type.dtype, tuple(shape))
    return add(graph, "expand", [value], kind, origins, {"shape": tuple(shape)})


def cut(graph: Graph, value: Value, axis: int, start: Dim, stop: Dim, origins: Iterable[str]) -> Value:
    """Positions `start` to `stop` of one axis."""
    shape = (*value.shape[:axis], stop - start, *value.shape[axis + 1 :])
    if shape == value.shape:
        return value
    attributes = {"axis": axis, "start": start, "stop": stop, "step": 1}
    return add(graph, "slice", [value], TensorType(value.type.dtype, shape), origins, attributes)


def replace(graph: Graph, old: Value, new: Value) -> None:
    """Let everything that uses `old` use `new`, then remove the nodes that became dead."""
    graph.replace_uses(old, new)
    if old.producer is not None:
        prune(graph, old.producer)


def prune(graph: Graph, node: Node) -> bool:
    """Remove `node` if nobody uses its results, then the producers of its operands likewise; whether it was removed."""
    outputs = set(graph.outputs.values())
    stack = [node]
    before = len(graph)
    while stack:
        candidate = stack.pop()
        if candidate not in graph or any(value.uses or value in outputs for value in candidate.outputs):
            continue
        stack += [v.producer for v in candidate.inputs if v is not None and v.producer is not None]
        graph.remove(candidate)
    return len(graph) != before


def ancestors(values: Iterable[Value]) -> set[Node]:
    """All nodes that the values are computed from."""
    seen: set[Node] = set()
    stack = [value.producer for value in values if value.producer is not None]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack += [v.producer for v in node.inputs if v is not None and v.producer is not None]
    return seen


def attribute_parts(attribute: Attribute) -> tuple[Attribute, ...]:
    """The elements of a tuple, or the attribute alone."""
    if isinstance(attribute, int | float | str | Affine):
        return (attribute,)
    return tuple(attribute)
