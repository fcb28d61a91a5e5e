"""What an attention costs on crossbars with its keys and values written into cells, and with X written instead."""

from __future__ import annotations

from dataclasses import dataclass

from passes.ir import Node
from passes.recognition.attention_projections import Projections


@dataclass(frozen=True)
class ArrayTimes:
    """Times of the arrays that the decision is about.

    Attributes:
        vector_ps: One vector through one group of arrays (t_m).
        write_ps: One column of cells written (t_w).
        copies: Groups of arrays that hold X. Keys and values of different heads are in arrays of their own, so that
            they serve all heads at the same time; a copy of X serves the heads one after the other.
        is_pipelined: Whether rows of a product go on to the next product before the last row is there.
        is_hidden: Whether X is written while these arrays wait for it anyhow: another layer or sequence is computed
            meanwhile. Keys and values cannot be, as the arrays that wait for them have just computed them.
    """

    vector_ps: int
    write_ps: int
    copies: int
    is_pipelined: bool
    is_hidden: bool = False


@dataclass(frozen=True)
class AttentionShape:
    """Sizes of one attention: tokens, heads H, key heads G, elements of a token, of a key head and of a value head."""

    tokens: int
    heads: int
    kv_heads: int
    width: int
    key_dim: int
    value_dim: int


@dataclass(frozen=True)
class Cost:
    """What one form of an attention costs.

    Attributes:
        time_ps: From X to the mixed values.
        products: Multiplications with cells.
        writes: Numbers written into cells.
    """

    time_ps: int
    products: int
    writes: int

    def __str__(self) -> str:
        return f"{self.time_ps / 1000:,.0f} ns, {self.products:,} products, {self.writes:,} writes"


def shape_of(node: Node, found: Projections, tokens: int) -> AttentionShape:
    """The sizes of an `attention`; a length that is not known when compiling counts as `tokens`."""
    length = found.x.shape[1]
    heads, kv_heads = int(node.attributes["heads"]), int(node.attributes["kv_heads"])
    key_dim, value_dim = ((part.stop - part.start) // kv_heads for part in (found.key, found.value))
    return AttentionShape(
        length if isinstance(length, int) else tokens, heads, kv_heads, found.width, key_dim, value_dim
    )


def written_keys(shape: AttentionShape, times: ArrayTimes) -> Cost:
    """Keys and values are written before use.

    n tokens go through the projections (t_m each), their keys and values are written (t_w, into arrays of their own),
    then scores and mixing follow (t_m each): n (3 t_m + t_w). A pipeline writes a token beside the projection of the
    next one, and mixes a query beside the scores of the next one; between the two all keys must be there:
    n max(t_m, t_w) + min(t_m, t_w) + (n + 1) t_m.
    """
    n, t_m, t_w = shape.tokens, times.vector_ps, times.write_ps
    time = n * (3 * t_m + t_w)
    if times.is_pipelined:
        time = n * max(t_m, t_w) + min(t_m, t_w) + (n + 1) * t_m
    key_value = shape.kv_heads * (shape.key_dim + shape.value_dim)
    projected = n * shape.width * (shape.heads * shape.key_dim + key_value)
    attended = n * n * shape.heads * (shape.key_dim + shape.value_dim)
    return Cost(time, projected + attended, n * key_value)


def written_x(shape: AttentionShape, times: ArrayTimes) -> Cost:
    """X is written, beside the two products Q = X W_Q and R = Q W_K^T: only what outlasts them counts.

    Then come the scores R X^T, the mixing S X and the product with W_V. A copy of X serves one head at a time, and
    either scores or mixing, as both are the same cells. With p = ceil(H / copies) passes for the heads one after the
    other max(n t_w, 2 n t_m) + n (2 p + 1) t_m; in a pipeline, with p = ceil(2 H / copies) passes a token,
    max(n t_w, 2 t_m) + (n p + 2) t_m. Hidden writes take no time.
    """
    n, t_m, heads = shape.tokens, times.vector_ps, shape.heads
    t_w = 0 if times.is_hidden else times.write_ps
    copies = min(times.copies, 2 * heads if times.is_pipelined else heads)
    if times.is_pipelined:
        time = max(n * t_w, 2 * t_m) + (n * -(-2 * heads // copies) + 2) * t_m
    else:
        time = n * (max(t_w, 2 * t_m) + (2 * -(-heads // copies) + 1) * t_m)
    linear = n * heads * shape.width * (2 * shape.key_dim + shape.value_dim)
    attended = 2 * n * n * heads * shape.width
    return Cost(time, linear + attended, n * shape.width * copies)
