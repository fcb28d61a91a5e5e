"""Recognition of rotary position embedding in its rotate-half form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.dims import Dim
from passes.explain import record
from passes.ir import Graph, Node, TensorType, Value
from passes.layout import head_major, token_major
from passes.matching import Refusal, only_user, operand_pairs, piece_of, producer
from passes.rewriting import add, origins_of, replace, reshape, transpose
from passes.rotary_tables import half_table, repeats


@dataclass(frozen=True)
class FuseRotary:
    """Replace x * cos + concat(-x_high, x_low) * sin by `rotary` on token-major values.

    Precondition: canonical form, common subexpressions merged.
    Effect: x may be [B, H, S, D] or [B, S, H, D], or the first part of the last axis of such a value whose rest is
    joined again behind. cos and sin are reduced to the half that repeats.
    Postcondition: no such sum is left, but for those listed in the facts.
    """

    name: ClassVar[str] = "fuse_rotary"
    optional: ClassVar[bool] = False
    reassociates: ClassVar[bool] = False

    def run(self, graph: Graph) -> bool:
        """Fuse every rotary embedding; returns whether there was one."""
        count = 0
        unfused: list[tuple[str, str]] = []
        for node in graph.nodes:
            if node not in graph or node.op != "concat" or _rotated_half(node) is None:
                continue
            try:
                _rewrite(graph, match_rotary(node))
                count += 1
            except Refusal as refusal:
                unfused.append((node.name, str(refusal)))
        record(graph, self.name, {"rotary": count}, unfused)
        return count > 0


@dataclass(frozen=True)
class Rotary:
    """A recognised rotary embedding.

    Attributes:
        x: All elements of the heads, rotated or not: [B, H, S, D], or [B, S, H, D] when `tokens_first`.
        cos: Table that broadcasts to the rotated part of x.
        sin: The same for the sine.
        tokens_first: Which axis order x has.
        result: The value that the rotary embedding replaces.
        nodes: The matched nodes.
    """

    x: Value
    cos: Value
    sin: Value
    tokens_first: bool
    result: Value
    nodes: tuple[Node, ...]


def match_rotary(half: Node) -> Rotary:
    """The rotary embedding around concat(-x_high, x_low); raises `Refusal`."""
    sine = only_user(half.output)
    if sine is None or sine.op != "mul":
        raise Refusal("the rotated half is not multiplied by a sine")
    plus = only_user(sine.output)
    if plus is None or plus.op != "add":
        raise Refusal("nothing is added to the rotated half times sine")
    cosine = next((v.producer for v in (plus.operand(0), plus.operand(1)) if v is not sine.output), None)
    if cosine is None or cosine.op != "mul":
        raise Refusal("the other addend is not a product with a cosine")
    x, cos = _rotated_value(cosine, half)
    sin = next(table for turned, table in operand_pairs(sine) if turned is half.output)
    tokens_first = _tokens_first(x, cos)
    if _tokens_first(x, sin) != tokens_first:
        raise Refusal("cosine and sine broadcast differently")
    if not (repeats(cos) and repeats(sin)):
        raise Refusal("the halves of the rotary tables are not provably equal")
    nodes = [*_cuts(half), half, cosine, sine, plus]
    whole, result, joint = _with_rest(x, plus.output)
    return Rotary(whole, cos, sin, tokens_first, result, (*nodes, *joint))


def _cuts(half: Node) -> list[Node]:
    """The nodes that cut the rotated half out of x, and its negation."""
    negation, low = half.operand(0).producer, half.operand(1).producer
    high = negation.operand(0).producer if negation is not None else None
    return [node for node in (high, negation, low) if node is not None]


def _rotated_half(node: Node) -> tuple[Value, Dim] | None:
    """(x, R) of concat(-x[R/2:R], x[:R/2]) over the last axis."""
    if len(node.inputs) != 2 or node.attributes["axis"] not in (-1, node.output.type.rank - 1):
        return None
    negated = producer(node.operand(0), "neg")
    low = piece_of(node.operand(1))
    high = piece_of(negated.operand(0)) if negated is not None else None
    if low is None or high is None or low.source is not high.source or low.axis != high.axis:
        return None
    is_halves = low.start == 0 and low.stop == high.start and low.stop * 2 == high.stop and low.step == high.step == 1
    return (low.source, high.stop) if is_halves and low.axis in (-1, low.source.type.rank - 1) else None


def _rotated_value(cosine: Node, half: Node) -> tuple[Value, Value]:
    """(x[:R], table) of the product of x[:R] with a table, for the x and R of the rotated half."""
    found = _rotated_half(half)
    for x, table in operand_pairs(cosine):
        piece = piece_of(x)
        if found is None or x.shape[-1] != found[1]:
            continue
        cut_off = piece is not None and piece.axis in (-1, x.type.rank - 1) and (piece.start, piece.step) == (0, 1)
        if x is found[0] or (piece is not None and cut_off and piece.source is found[0]):
            if x.type.rank != 4:
                raise Refusal("the rotated value does not have four axes")
            return x, table
    raise Refusal("the cosine does not multiply the value that is rotated")


def _tokens_first(x: Value, table: Value) -> bool:
    """Whether x is [B, S, H, D], seen from the axis along which the table is broadcast."""
    shape = (1,) * (4 - table.type.rank) + table.shape
    if len(shape) != 4 or shape[-1] != x.shape[-1] or shape[0] not in (1, x.shape[0]):
        raise Refusal("the rotary table does not have the shape [B, 1, S, D]")
    if shape[1] == 1 and shape[2] == x.shape[2]:
        return False
    if shape[2] == 1 and shape[1] == x.shape[1]:
        return True
    raise Refusal("the rotary table is not one row for each token")


def _with_rest(x: Value, result: Value) -> tuple[Value, Value, tuple[Node, ...]]:
    """Extend over concat(rotary(x[:R]), x[R:]): (x whole, result, further nodes); unchanged when all is rotated."""
    first, join = piece_of(x), only_user(result)
    if first is None or join is None or join.op != "concat" or len(join.inputs) != 2:
        return x, result, ()
    rest = piece_of(join.operand(1))
    last = x.type.rank - 1
    if rest is None or join.operand(0) is not result or join.attributes["axis"] not in (-1, last):
        return x, result, ()
    whole = first.source
    joined = (first.axis, rest.axis, first.start, first.stop, rest.stop, first.step, rest.step)
    if rest.source is not whole or joined != (last, last, 0, rest.start, whole.shape[-1], 1, 1):
        return x, result, ()
    return whole, join.output, (first.node, rest.node, join)


def _rewrite(graph: Graph, found: Rotary) -> None:
    origins = origins_of(found.nodes)
    batch, heads, length, width = found.x.shape
    if found.tokens_first:
        heads, length = length, heads
        tokens = reshape(graph, found.x, (batch, length, heads * width), origins)
    else:
        tokens = token_major(graph, found.x, origins)
    cos, sin = (_row_a_token(graph, half_table(graph, table), length) for table in (found.cos, found.sin))
    kind = TensorType(tokens.type.dtype, tokens.shape)
    attributes = {"heads": heads, "interleaved": False}
    turned = add(graph, "rotary", [tokens, cos, sin], kind, origins, attributes)
    apart = head_major(graph, turned, (batch, heads, length, width), origins)
    replace(graph, found.result, transpose(graph, apart, (0, 2, 1, 3), origins) if found.tokens_first else apart)


def _row_a_token(graph: Graph, table: Value, length: Dim) -> Value:
    """The half table [B|1, 1, S, R/2] or [B|1, S, 1, R/2] as [B|1, S, R/2]."""
    batch = table.shape[0] if table.type.rank == 4 else 1
    origins = table.producer.origins if table.producer is not None else ()
    return reshape(graph, table, (batch, length, table.shape[-1]), origins)
