"""Recognition of feed-forward blocks, plain and gated."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as replace_fields
from typing import ClassVar

import numpy as np

from passes.explain import record
from passes.ir import Graph, Node, TensorType, Value
from passes.recognition.matching import Refusal, close, only_user, operand_pairs, piece_of, producer, with_constant
from passes.recognition.quantised_values import before_quantisation
from passes.rewriting import add, origins_of, replace, reshape

_ACTIVATION_OPS = ("relu", "silu", "gelu", "tanh", "sigmoid", "mul")


@dataclass(frozen=True)
class FuseFeedForward:
    """Replace linear(act(linear(x))) and linear(act(linear(x)) * linear(x)) by `feed_forward`.

    Precondition: linear maps and activations are fused.
    Effect: the value between the linear maps does not exist in the graph any more; reshapes that keep the last axis may
    stand between them. Blocks that choose among experts are counted, but stay as they are.
    Postcondition: no such block is left, but for those listed in the facts.
    """

    name: ClassVar[str] = "fuse_feed_forward"
    optional: ClassVar[bool] = True
    reassociates: ClassVar[bool] = True

    def run(self, graph: Graph) -> bool:
        """Fuse every block; returns whether there was one."""
        counts = {"plain": 0, "gated": 0}
        experts = sum(1 for node in graph.nodes if node.op == "topk" and _chooses_experts(node))
        unfused: list[tuple[str, str]] = []
        for node in graph.nodes:
            if node not in graph or node.op != "linear" or producer(node.operand(0), *_ACTIVATION_OPS) is None:
                continue
            try:
                block = match_feed_forward(node)
            except Refusal as refusal:
                unfused.append((node.name, str(refusal)))
                continue
            counts["plain" if block.gate is None else "gated"] += 1
            _rewrite(graph, block)
        record(graph, self.name, {**counts, "experts": experts}, unfused)
        return any(counts.values())


def _chooses_experts(node: Node) -> bool:
    """Whether the positions of a `topk` look up weight matrices."""
    waiting = [node.outputs[1]]
    while waiting:
        for user in waiting.pop().users:
            if _looks_up_matrices(user):
                return True
            if user.op in ("reshape", "cast", "transpose", "expand", "slice", "split", "where"):
                waiting += user.outputs
    return False


def _looks_up_matrices(node: Node) -> bool:
    if node.op == "expert_linear":
        return True
    return node.op in ("gather", "gather_nd") and node.operand(0).is_constant and node.operand(0).type.rank == 3


@dataclass(frozen=True)
class Projection:
    """Part of a linear map: x times the columns `start` to `stop` of the weight."""

    node: Node
    start: int
    stop: int
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class FeedForward:
    """A recognised block."""

    up: Projection
    gate: Projection | None
    down: Node
    activation: str
    nodes: tuple[Node, ...]


def match_feed_forward(down: Node) -> FeedForward:
    """The block that ends in a linear map; raises `Refusal`, without a reason when nothing looks like a block."""
    hidden = down.operand(0)
    _check_exact(hidden)
    found = _activation(hidden)
    if found is not None:
        if only_user(hidden) is None:
            raise Refusal("the hidden value is used elsewhere too")
        name, x, nodes = found
        up = _projection(x)
        if up is None:
            raise Refusal("the activation is not applied to a linear map")
        return FeedForward(up, None, down, name, (*up.nodes, *nodes, down))
    return _gated(down, hidden)


def _check_exact(hidden: Value) -> None:
    """Refuse a hidden value that would be that of a block, but for the steps to which it is rounded."""
    exact = before_quantisation(hidden)
    if exact is None:
        return
    product = producer(exact, "mul")
    factors = [value for value in product.inputs if value is not None] if product is not None else []
    if any(_activation(before_quantisation(part) or part) is not None for part in (exact, *factors)):
        raise Refusal("a quantisation stands between the activation and the linear map behind it")


def _gated(down: Node, hidden: Value) -> FeedForward:
    product = producer(hidden, "mul")
    if product is None:
        raise Refusal("the hidden value is not an activation")
    for activated, other in operand_pairs(product):
        found = _activation(activated)
        if found is None or only_user(activated) is None:
            continue
        if only_user(hidden) is None:
            raise Refusal("the hidden value is used elsewhere too")
        gate, up = _projection(found[1]), _projection(other)
        if gate is None or up is None or gate.node.operand(0) is not up.node.operand(0):
            raise Refusal("gate and up are not linear maps of the same value")
        return FeedForward(up, gate, down, found[0], (*gate.nodes, *up.nodes, *found[2], product, down))
    raise Refusal("")


def _activation(value: Value) -> tuple[str, Value, tuple[Node, ...]] | None:
    """(name as in `ACTIVATIONS`, argument, nodes) of an activation."""
    node = producer(value, *_ACTIVATION_OPS)
    if node is None:
        return None
    if node.op == "gelu":
        return "gelu" if node.attributes["approximate"] == "none" else "gelu_tanh", node.operand(0), (node,)
    if node.op == "mul":
        return _quick_gelu(node)
    return node.op, node.operand(0), (node,)


def _quick_gelu(node: Node) -> tuple[str, Value, tuple[Node, ...]] | None:
    """x * sigmoid(1.702 x)."""
    for x, gate in operand_pairs(node):
        curve = producer(gate, "sigmoid")
        scaled = producer(curve.operand(0), "mul") if curve is not None else None
        found = with_constant(scaled) if scaled is not None else None
        if curve is not None and scaled is not None and found is not None and found[0] is x and close(found[1], 1.702):
            return "quick_gelu", x, (node, curve, scaled)
    return None


def _projection(value: Value) -> Projection | None:
    """The linear map that a value is, or is a part of by columns; rows may be counted in another way."""
    rows = producer(value, "reshape")
    if rows is not None and rows.operand(0).shape[-1:] == value.shape[-1:]:
        found = _projection(rows.operand(0))
        return None if found is None else replace_fields(found, nodes=(*found.nodes, rows))
    piece = piece_of(value)
    source = value if piece is None else piece.source
    node = producer(source, "linear")
    if node is None or not all(operand is None or operand.is_constant for operand in node.inputs[1:]):
        return None
    if piece is None:
        width = node.output.shape[-1]
        return Projection(node, 0, width, (node,)) if isinstance(width, int) else None
    is_columns = piece.axis in (-1, source.type.rank - 1) and piece.step == 1
    if not is_columns or not isinstance(piece.start, int) or not isinstance(piece.stop, int):
        return None
    return Projection(node, piece.start, piece.stop, (node, piece.node))


def _rewrite(graph: Graph, block: FeedForward) -> None:
    up, up_bias = _matrices(graph, block.up)
    gate, gate_bias = (None, None) if block.gate is None else _matrices(graph, block.gate)
    down = block.down
    down_bias = down.inputs[2] if len(down.inputs) > 2 else None
    x, origins = block.up.node.operand(0), origins_of(block.nodes)
    inputs = [x, up, up_bias, gate, gate_bias, down.operand(1), down_bias]
    kind = TensorType(down.output.type.dtype, (*x.shape[:-1], down.output.shape[-1]))
    new = add(graph, "feed_forward", inputs, kind, origins, {"activation": block.activation})
    replace(graph, down.output, reshape(graph, new, down.output.shape, origins))


def _matrices(graph: Graph, part: Projection) -> tuple[Value, Value | None]:
    """Weight and bias of a projection; of a part of a linear map, views of them."""
    weight, bias = part.node.operand(1), part.node.inputs[2] if len(part.node.inputs) > 2 else None
    if (part.start, part.stop) == (0, weight.shape[1]):
        return weight, bias
    cut = slice(part.start, part.stop)
    columns = graph.add_constant(np.asarray(weight.constant)[:, cut], weight.name, weight.type.dtype)
    if bias is None:
        return columns, None
    return columns, graph.add_constant(np.asarray(bias.constant)[cut], bias.name, bias.type.dtype)
