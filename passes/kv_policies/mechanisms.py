"""What a compressed KV cache does, as few mechanisms that every policy is a choice of.

A policy (one file each in this folder) turns its parameters into a `Compression` for a layer; passes, interpreter and
backend know the mechanisms only. Arithmetic on numbers is binary32 unless it is said otherwise, in the order in which
it is written. Tokens of a sequence are counted from 0; `n` is the number of tokens with the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Ring:
    """Keep the first and the latest tokens.

    Token t lies in slot t while t < budget, then in slot sinks + (t - sinks) mod (budget - sinks); all min(n, budget)
    slots are attended to.

    Attributes:
        budget: Tokens kept, the new one included.
        sinks: First tokens that are never overwritten.
    """

    budget: int
    sinks: int


@dataclass(frozen=True)
class Scored:
    """Evict the tokens that queries cared for least.

    A token is appended behind the last used slot until budget + interval slots are used, then to the free slots of the
    latest eviction in the order in which that found them. After the attention of the token that fills the last slot,
    the `interval` slots with the smallest statistic, smallest first, of equal ones the lower slot first, become free;
    the latest `protected` tokens are not among them. Positions stay those of the sequence.

    The statistic of a slot is a sum over queries of the weight that they gave to it, beginning with its own token:
    for each query w = sum over the query heads of the softmax probability, heads ascending; the heads of one key/value
    head when `shared` is false, all heads of the layer when it is true (then all heads evict the same tokens). Before
    an eviction with a `kernel` above 1 the statistic of slot i is replaced by the sum over the slots i - kernel // 2 ..
    i + kernel // 2 that are used, ascending: neighbours in time until the first eviction, neighbours in memory later.

    Attributes:
        budget: Tokens kept after an eviction.
        interval: Tokens evicted at once.
        protected: Latest tokens that are not evicted.
        queries: How many of the latest queries count: 0 all of them, 1 only the newest one, w the latest w before an
            eviction (w <= interval).
        kernel: Slots over which the statistic is summed before an eviction; odd.
        shared: Whether all heads of the layer keep the same tokens.
    """

    budget: int
    interval: int
    protected: int
    queries: int
    kernel: int
    shared: bool


@dataclass(frozen=True)
class Quantized:
    """Integer codes with a scale and a zero point, written in whole groups of tokens.

    While n - q < residual + group the latest n - q tokens are exact (q tokens are quantised). After the attention of
    the token that makes n - q = residual + group, the oldest `group` exact tokens are quantised: keys per channel over
    the group's tokens (`key_axis` channel), or per token over runs of `width` channels of a head; values always per
    token over runs of `width` channels of a head. For a set of elements with smallest lo and largest hi:
    scale = half((hi - lo) / (2^bits - 1)), zero = half(lo), both rounded to IEEE binary16 (beyond 65504: 65504);
    code = clamp(round_half_even((x - zero) / scale), 0, 2^bits - 1), 0 where scale is 0; x is then code * scale + zero.

    Attributes:
        key_bits: Bits of a key's code: 8, 4 or 2; 16 leaves keys exact.
        value_bits: The same for values.
        key_axis: `channel` or `token`.
        group: Tokens that are quantised together, a multiple of 16.
        width: Channels that share scale and zero of a token; divides the head's width, and is a multiple of 16 or all
            of it.
        residual: Latest tokens that stay exact at least, a multiple of `group`: a ring of whole groups holds them.
    """

    key_bits: int
    value_bits: int
    key_axis: Literal["channel", "token"]
    group: int
    width: int
    residual: int


@dataclass(frozen=True)
class Levelled:
    """Titanus' cascade (CPQ): prune by magnitude, then quantise the survivors per channel with levels that grow.

    The first `warmup` tokens stay exact. After the attention of token number `warmup` all of them are compressed, in
    order; later tokens are compressed when they arrive, before their own attention. The channels of a token are those
    of all key heads, then of all value heads. For each channel c with threshold tau (of keys or of values):

    * an element with |x| >= tau survives;
    * level 1 of a channel spans the smallest and largest survivor of the warm-up; a channel without any survivor
      there, and one whose survivor lies outside of its latest level, opens a level: the hull of the latest level and
      the survivor. There are at most `levels`; when they are used up the survivor is clamped to the latest one;
    * a level has scale = half((hi - lo) / (2^bits - 2)), zero = half(lo), rounded to binary16;
    * the code of a survivor in the latest level is 1 + clamp(round_half_even((x - zero) / scale), 0, 2^bits - 2), 1
      where scale is 0, and (code - 1) * scale + zero is what it is worth; an element that was pruned has the code 0 and
      is worth 0.

    A token is stored as a record: a bitmap of one bit a channel (1: code is not 0), one level bit a survivor (1: it
    opened a level that is not the first of its channel), and the codes that are not 0, keys' in `key_bits`, values' in
    `value_bits`; each of the three parts begins at a byte and has its lowest bit first.

    Attributes:
        key_bits: Bits of a key's code, 2 to 8.
        value_bits: The same for values.
        key_threshold: Magnitude below which keys are pruned.
        value_threshold: The same for values.
        warmup: Tokens whose range opens the first level.
        levels: Levels of a channel at most.
        survivors: Share of elements that survive, as declared for runs without data.
    """

    key_bits: int
    value_bits: int
    key_threshold: float
    value_threshold: float
    warmup: int
    levels: int
    survivors: float


@dataclass(frozen=True)
class BestKeys:
    """Attend to the `count` keys with the largest scores of each query head, of equal ones the first."""

    count: int


@dataclass(frozen=True)
class BestPages:
    """Quest: attend to the tokens of the best pages of each key/value head, and to the last page always.

    Page p holds the tokens p * page to p * page + page - 1 and, of its tokens so far, the smallest m and the largest M
    of each channel. The bound of a query head is sum over channels of max(q m, q M), channels ascending; that of a
    key/value head the largest over its query heads. The `count` pages with the largest bounds are attended to, of
    equal ones the first; the last page, which is not complete, is one of them whatever its bound.

    Attributes:
        page: Tokens of a page, a multiple of 16.
        count: Pages attended to, the last one included.
    """

    page: int
    count: int


@dataclass(frozen=True)
class BinaryKeys:
    """CAMformer: score by the signs of query and key, keep the best of each tile, then the best of these.

    The code of key i is the number of channels where q and k have the same sign (x > 0 or not), quantised to
    `code_bits`: min(2^code_bits - 1, matches * 2^code_bits div channels). Of each tile of `tile` keys the `tile_top`
    largest codes remain, of those the `count` largest of the query head, of equal ones always the first. Attention is
    softmax over scale * (2 * code * channels / 2^code_bits - channels) of the winners, with exact values.

    Attributes:
        count: Keys attended to.
        tile: Keys of a tile.
        tile_top: Keys that a tile passes on.
        code_bits: Resolution of the match line.
    """

    count: int
    tile: int
    tile_top: int
    code_bits: int


Retention = Ring | Scored
Encoding = Quantized | Levelled
Selection = BestKeys | BestPages | BinaryKeys
MECHANISMS = {kind.__name__: kind for kind in (Ring, Scored, Quantized, Levelled, BestKeys, BestPages, BinaryKeys)}
"""All mechanisms by the names that texts and metadata give them."""


@dataclass(frozen=True)
class Compression:
    """What one layer's cache does. A mechanism that is `None` does not take part.

    A selection looks at keys as the cache gives them: those of a ring or of scored slots in the order of the slots, of
    which free ones are never selected, quantised ones as they are worth in the order of tokens; only pages look at
    elements as they came. A statistic counts the weights after the selection.

    A ring over quantised tokens attends to token t when t < sinks or t >= n - (budget - sinks). Group 0 stays; group
    g >= 1 lies in place 1 + (g - 1) mod (ceil((budget - sinks) / group) + 1), where it overwrites a group that nobody
    attends to any more.

    Attributes:
        retention: Which tokens stay.
        encoding: How they are stored.
        selection: Which of them a query attends to.
    """

    retention: Retention | None = None
    encoding: Encoding | None = None
    selection: Selection | None = None
