"""Attention blocks in the spellings of the exporters, with masks of all kinds."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tests_graphs import PAST, SEQ, TOTAL, Net

from passes import Graph, Value
from passes.dims import Dim

HEADS, HEAD_DIM, WIDTH = 4, 8, 32
MINUS_INFINITY = -np.inf
LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Lengths:
    """S, T and whether there is a past."""

    queries: Dim = SEQ
    keys: Dim = TOTAL

    @property
    def past(self) -> Dim:
        return self.keys - self.queries


CACHED, UNCACHED = Lengths(), Lengths(SEQ, SEQ)
Mask = Callable[[Net, Lengths], Value | None]
"""Builds the bool predicate [B|1, 1, S|1, T], true where a key may be attended to."""


def positions(net: Net, start: Dim, stop: Dim, *shape: Dim) -> Value:
    numbers = net.op("range", start=start, stop=stop, step=1, to="int64")
    return net.op("reshape", numbers, shape=shape)


def query_positions(net: Net, lengths: Lengths) -> Value:
    return positions(net, lengths.past, lengths.keys, 1, 1, lengths.queries, 1)


def key_positions(net: Net, lengths: Lengths) -> Value:
    return positions(net, 0, lengths.keys, 1, 1, 1, lengths.keys)


def no_mask(net: Net, lengths: Lengths) -> Value | None:
    return None


def causal(net: Net, lengths: Lengths) -> Value:
    return net.op("less_equal", key_positions(net, lengths), query_positions(net, lengths))


def key_mask(net: Net, lengths: Lengths) -> Value:
    given = net.op("cast", net.input("attention_mask", 1, lengths.keys, dtype="int64"), to="bool")
    return net.op("reshape", given, shape=(1, 1, 1, lengths.keys))


def both(*masks: Mask) -> Mask:
    def mask(net: Net, lengths: Lengths) -> Value:
        first, *others = (built for m in masks if (built := m(net, lengths)) is not None)
        for other in others:
            first = net.op("and", first, other)
        return first

    return mask


def window(size: int) -> Mask:
    """Key j > i - size."""

    def mask(net: Net, lengths: Lengths) -> Value:
        lowest = net.op("sub", query_positions(net, lengths), size)
        return net.op("greater", key_positions(net, lengths), lowest)

    return mask


def window_or_equal(size: int) -> Mask:
    """Key j >= i - size: one key more than `window(size)`."""

    def mask(net: Net, lengths: Lengths) -> Value:
        lowest = net.op("sub", query_positions(net, lengths), size)
        return net.op("greater_equal", key_positions(net, lengths), lowest)

    return mask


def key_mask_by_lookup(net: Net, lengths: Lengths) -> Value:
    """What TorchScript makes of indexing the mask: flatten it, gather at row * T + column."""
    given = net.op("cast", net.input("attention_mask", 1, lengths.keys, dtype="int64"), to="bool")
    flat = net.op("reshape", given, shape=(lengths.keys,))
    return net.op("gather", flat, key_positions(net, lengths), axis=0)


def additive(net: Net, predicate: Value, low: float) -> Value:
    return net.op("where", predicate, net.constant(0.0), net.constant(low))


@dataclass(frozen=True)
class Spelling:
    """How the exporter writes attention.

    Attributes:
        scale: `split` (on query and keys by its root), `product` or `quotient` (on the scores).
        keys: `transpose`, or `flat` (reshape to three axes, transpose, reshape back).
        guard: Whether NaN becomes 0 behind the softmax.
        low: What masked scores get.
        masking: `add` or `where`.
    """

    scale: str = "split"
    keys: str = "transpose"
    guard: bool = True
    low: float = MINUS_INFINITY
    masking: str = "add"


TORCHSCRIPT = Spelling()
DYNAMO = Spelling(keys="flat", low=LOWEST)
EAGER = Spelling(scale="product", guard=False, low=LOWEST)
EAGER_QUOTIENT = Spelling(scale="quotient", guard=False, low=LOWEST, masking="where")


def split_heads(net: Net, x: Value, heads: int, length: Dim) -> Value:
    apart = net.op("reshape", x, shape=(1, length, heads, x.shape[-1] // heads))  # type: ignore[operator]
    return net.op("transpose", apart, perm=(0, 2, 1, 3))


def repeat_heads(net: Net, x: Value, kv_heads: int, length: Dim) -> Value:
    count = HEADS // kv_heads
    if count == 1:
        return x
    apart = net.op("reshape", x, shape=(1, kv_heads, 1, length, HEAD_DIM))
    repeated = net.op("expand", apart, shape=(1, kv_heads, count, length, HEAD_DIM))
    return net.op("reshape", repeated, shape=(1, HEADS, length, HEAD_DIM))


def transposed(net: Net, keys: Value, spelling: Spelling, length: Dim) -> Value:
    if spelling.keys == "transpose":
        return net.op("transpose", keys, perm=(0, 1, 3, 2))
    flat = net.op("transpose", net.op("reshape", keys, shape=(HEADS, length, HEAD_DIM)), perm=(0, 2, 1))
    return net.op("reshape", flat, shape=(1, HEADS, HEAD_DIM, length))


def weights_of(net: Net, query: Value, keys: Value, mask: Value | None, spelling: Spelling, length: Dim) -> Value:
    scale = HEAD_DIM**-0.5
    keys = transposed(net, keys, spelling, length)
    if spelling.scale == "split":
        query, keys = net.op("mul", query, scale**0.5), net.op("mul", keys, scale**0.5)
    scores = net.op("matmul", query, keys)
    if spelling.scale == "product":
        scores = net.op("mul", scores, scale)
    elif spelling.scale == "quotient":
        scores = net.op("div", scores, HEAD_DIM**0.5)
    if mask is not None and spelling.masking == "where":
        scores = net.op("where", mask, scores, net.constant(spelling.low))
    elif mask is not None:
        scores = net.op("add", scores, additive(net, mask, spelling.low))
    weights = net.op("softmax", scores, axis=3)
    if spelling.guard:
        weights = net.op("where", net.op("is_nan", weights), net.constant(0.0), weights)
    return weights


def attention_block(
    spelling: Spelling = TORCHSCRIPT,
    mask: Mask = causal,
    kv_heads: int = HEADS,
    lengths: Lengths = CACHED,
    layers: int = 1,
) -> Graph:
    """Layers of projections, attention and output projection, with a residual; `past.N.key` and so on when cached."""
    net = Net()
    x = net.input("x", 1, lengths.queries, WIDTH)
    predicate = mask(net, lengths)
    for layer in range(layers):
        query = split_heads(net, net.op("matmul", x, net.weights(WIDTH, WIDTH)), HEADS, lengths.queries)
        narrow = kv_heads * HEAD_DIM
        keys, values = (
            split_heads(net, net.op("matmul", x, net.weights(WIDTH, narrow)), kv_heads, lengths.queries) for _ in "kv"
        )
        if lengths.past != 0:
            shape = (1, kv_heads, PAST, HEAD_DIM)
            keys = net.op("concat", net.input(f"past.{layer}.key", *shape), keys, axis=2)
            values = net.op("concat", net.input(f"past.{layer}.value", *shape), values, axis=2)
            net.output(f"present.{layer}.key", keys)
            net.output(f"present.{layer}.value", values)
        repeated = [repeat_heads(net, kept, kv_heads, lengths.keys) for kept in (keys, values)]
        weights = weights_of(net, query, repeated[0], predicate, spelling, lengths.keys)
        mixed = net.op("transpose", net.op("matmul", weights, repeated[1]), perm=(0, 2, 1, 3))
        flat = net.op("reshape", mixed, shape=(1, lengths.queries, WIDTH))
        x = net.op("add", x, net.op("matmul", flat, net.weights(WIDTH, WIDTH)))
    net.output("y", x)
    return net.graph
