"""Recognition of rotary position embedding, by halves and by neighbours."""

from __future__ import annotations

from dataclasses import dataclass

from passes.dims import Dim
from passes.ir import Node, Value
from passes.recognition.matching import Piece, Refusal, only_user, operand_pairs, piece_of, producer
from passes.recognition.rotary_tables import repeats


@dataclass(frozen=True)
class Rotary:
    """A recognised rotary embedding.

    Attributes:
        x: All elements of the heads, rotated or not, at positions `start` to `stop` of the last axis:
            [B, H, S, D], or [B, S, H, D] when `tokens_first`.
        start: First element of a head in the last axis of `x`.
        stop: End of a head in the last axis of `x`.
        cos: Table that broadcasts to the rotated part of x.
        sin: The same for the sine.
        tokens_first: Which axis order x has.
        interleaved: Whether neighbours are rotated instead of halves.
        result: The value that the rotary embedding replaces.
        nodes: The matched nodes.
    """

    x: Value
    start: Dim
    stop: Dim
    cos: Value
    sin: Value
    tokens_first: bool
    interleaved: bool
    result: Value
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Turned:
    """x[start:start + R] with its halves or its neighbours exchanged, the one that comes first negated.

    Attributes:
        source: x.
        start: First rotated element in the last axis of x.
        width: R.
        interleaved: Whether neighbours are exchanged instead of halves.
        result: The rearranged value.
        nodes: The nodes that rearrange.
    """

    source: Value
    start: Dim
    width: Dim
    interleaved: bool
    result: Value
    nodes: tuple[Node, ...]


def turned_of(node: Node) -> Turned | None:
    """What a concat rearranges: concat(-x[R/2:R], x[:R/2]), or (-x1, x0, -x3, x2, ...) with the reshape behind it."""
    is_last = node.attributes["axis"] in (-1, node.output.type.rank - 1)
    if len(node.inputs) != 2 or not is_last:
        return None
    first, second = node.operand(0), node.operand(1)
    columns = [producer(value, "reshape") for value in (first, second)]
    if columns[0] is None or columns[1] is None:
        return _turned_halves(node, first, second)
    return _turned_neighbours(node, columns[0], columns[1])


def _pieces(negated: Value, plain: Value) -> tuple[Piece, Piece, Node] | None:
    """The two parts of the last axis of one value, and the negation of the first."""
    negation = producer(negated, "neg")
    first, second = piece_of(negation.operand(0)) if negation is not None else None, piece_of(plain)
    if negation is None or first is None or second is None or first.source is not second.source:
        return None
    last = (-1, first.source.type.rank - 1)
    return (first, second, negation) if first.axis in last and second.axis in last else None


def _turned_halves(node: Node, negated: Value, plain: Value) -> Turned | None:
    found = _pieces(negated, plain)
    if found is None:
        return None
    high, low, negation = found
    width = high.stop - low.start
    is_halves = low.stop == high.start and (low.stop - low.start) * 2 == width and low.step == high.step == 1
    nodes = (high.node, negation, low.node, node)
    return Turned(low.source, low.start, width, False, node.output, nodes) if is_halves else None


def _turned_neighbours(node: Node, negated: Node, plain: Node) -> Turned | None:
    found = _pieces(negated.operand(0), plain.operand(0))
    flat = only_user(node.output)
    if found is None or flat is None or flat.op != "reshape":
        return None
    odd, even, negation = found
    x = even.source
    *front, width = x.shape
    is_pairs = (even.start, odd.start, even.step, odd.step) == (0, 1, 2, 2) and even.stop in (width, width - 1)
    if not is_pairs or node.output.shape != (*front, width // 2, 2) or flat.output.shape != x.shape:
        return None
    nodes = (odd.node, negation, negated, even.node, plain, node, flat)
    return Turned(x, 0, width, True, flat.output, nodes)


def match_rotary(turned: Turned) -> Rotary:
    """The rotary embedding around a rearranged value; raises `Refusal`."""
    sine = only_user(turned.result)
    if sine is None or sine.op != "mul":
        raise Refusal("the rotated half is not multiplied by a sine")
    plus = only_user(sine.output)
    if plus is None or plus.op != "add":
        raise Refusal("nothing is added to the rotated half times sine")
    cosine = next((v.producer for v in (plus.operand(0), plus.operand(1)) if v is not sine.output), None)
    if cosine is None or cosine.op != "mul":
        raise Refusal("the other addend is not a product with a cosine")
    x, cos = _rotated_value(cosine, turned)
    sin = next(table for value, table in operand_pairs(sine) if value is turned.result)
    tokens_first = _tokens_first(x, cos)
    if _tokens_first(x, sin) != tokens_first:
        raise Refusal("cosine and sine broadcast differently")
    if not (repeats(cos, turned.interleaved) and repeats(sin, turned.interleaved)):
        raise Refusal("the halves of the rotary tables are not provably equal")
    whole, start, stop, result, joint = _with_rest(x, plus.output)
    nodes = (*turned.nodes, cosine, sine, plus, *joint)
    return Rotary(whole, start, stop, cos, sin, tokens_first, turned.interleaved, result, nodes)


def _rotated_value(cosine: Node, turned: Turned) -> tuple[Value, Value]:
    """(x[:R], table) of the product of x[:R] with a table, for the x and R of the rearranged value."""
    for x, table in operand_pairs(cosine):
        piece = piece_of(x)
        if x.shape[-1] != turned.width:
            continue
        span = None if piece is None else (piece.axis % x.type.rank, piece.start, piece.step)
        is_cut_off = span == (x.type.rank - 1, turned.start, 1)
        if x is turned.source or (piece is not None and is_cut_off and piece.source is turned.source):
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


def _with_rest(x: Value, result: Value) -> tuple[Value, Dim, Dim, Value, tuple[Node, ...]]:
    """Extend over concat(rotary(x[:R]), x[R:]): (x, start, stop, result, further nodes); all of x without a rest."""
    alone = (x, 0, x.shape[-1], result, ())
    first, join = piece_of(x), only_user(result)
    if first is None or join is None or join.op != "concat" or len(join.inputs) != 2:
        return alone
    rest = piece_of(join.operand(1))
    last = x.type.rank - 1
    if rest is None or join.operand(0) is not result or join.attributes["axis"] not in (-1, last):
        return alone
    joined = (first.axis, rest.axis, first.stop, first.step, rest.step)
    if rest.source is not first.source or joined != (last, last, rest.start, 1, 1):
        return alone
    return first.source, first.start, rest.stop, join.output, (first.node, rest.node, join)
