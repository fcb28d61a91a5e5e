"""Masks as predicates: windows below, at and above their constants, key masks, and what is refused."""

from collections.abc import Callable

import numpy as np
import pytest
from tests_attention_graphs import (
    CACHED,
    LOWEST,
    UNCACHED,
    Lengths,
    Mask,
    additive,
    both,
    causal,
    key_mask,
    key_mask_by_lookup,
    key_positions,
    no_mask,
    query_positions,
    window,
    window_or_equal,
)
from tests_graphs import PAST, SEQ, TOTAL, Net

from passes import Value
from passes.recognition.mask_lengths import integer_constants, length_choices
from passes.recognition.masks import MaskTerm, classify
from passes.recognition.matching import Refusal

LENGTHS = [CACHED, UNCACHED, Lengths(3, PAST + 3), Lengths(6, 6)]


def found(mask: Mask, lengths: Lengths, kind: str = "allowed") -> tuple[bool, int, str | None]:
    net = Net()
    value = mask(net, lengths)
    terms = [] if value is None else [MaskTerm(value, kind)]
    predicate = classify(terms, lengths.queries, lengths.keys)
    return predicate.causal, predicate.window, predicate.key_mask and predicate.key_mask.name


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (no_mask, (False, 0, None)),
        (causal, (True, 0, None)),
        (key_mask, (False, 0, "attention_mask")),
        (key_mask_by_lookup, (False, 0, "attention_mask")),
        (both(causal, key_mask), (True, 0, "attention_mask")),
        (both(causal, window(2)), (True, 2, None)),
        (both(causal, window(4), key_mask), (True, 4, "attention_mask")),
        (both(causal, window_or_equal(3)), (True, 4, None)),
    ],
)
def test_predicates(mask: Mask, expected: tuple[bool, int, str | None], lengths: Lengths) -> None:
    assert found(mask, lengths) == expected


@pytest.mark.parametrize("size", [1, 7, 16, 512, 4096])
def test_windows_are_told_from_causal_masks_however_large(size: int) -> None:
    assert found(both(causal, window(size)), CACHED) == (True, size, None)


@pytest.mark.parametrize("lengths", [CACHED, UNCACHED])
def test_a_window_may_end_between_integers(lengths: Lengths) -> None:
    assert found(window_by(as_float, 40.5), lengths) == (True, 41, None)


@pytest.mark.parametrize("lengths", [CACHED, UNCACHED])
def test_key_masks_do_not_hide_windows(lengths: Lengths) -> None:
    assert found(both(causal, window(1024), key_mask), lengths) == (True, 1024, "attention_mask")


def test_a_window_that_the_fixed_lengths_never_reach_is_causal() -> None:
    assert found(both(causal, window(9)), Lengths(6, 6)) == (True, 0, None)


def test_kinds_of_terms() -> None:
    assert found(lambda n, t: additive(n, causal(n, t), LOWEST), CACHED, "additive") == (True, 0, None)
    assert found(lambda n, t: additive(n, causal(n, t), -np.inf), CACHED, "additive") == (True, 0, None)
    assert found(lambda n, t: n.op("not", causal(n, t)), CACHED, "masked") == (True, 0, None)


def test_a_mask_as_a_product_with_a_huge_number() -> None:
    def mask(net: Net, lengths: Lengths) -> Value:
        given = net.op("cast", net.input("attention_mask", 1, lengths.keys, dtype="int64"), to="float32")
        dropped = net.op("sub", net.constant(1.0), net.op("reshape", given, shape=(1, 1, 1, lengths.keys)))
        return net.op("mul", dropped, -10000.0)

    assert found(mask, UNCACHED, "additive") == (False, 0, "attention_mask")


def test_several_terms_are_a_conjunction() -> None:
    net = Net()
    terms = [
        MaskTerm(causal(net, CACHED), "allowed"),
        MaskTerm(additive(net, key_mask(net, CACHED), LOWEST), "additive"),
        MaskTerm(net.op("not", window(5)(net, CACHED)), "masked"),
    ]
    predicate = classify(terms, SEQ, TOTAL)
    assert str(predicate) == "causal, window 5, key mask"


def table_mask(size: int) -> Mask:
    """A lower triangle stored as a constant, cut to the lengths, as older exports have it."""

    def mask(net: Net, lengths: Lengths) -> Value:
        triangle = net.constant(np.tri(size)[None, None], "bool", "triangle")
        rows = net.cut(triangle, 2, lengths.past, lengths.keys)
        return net.cut(rows, 3, 0, lengths.keys)

    return mask


def test_a_stored_triangle_is_causal_as_far_as_it_reaches() -> None:
    assert found(table_mask(32), CACHED) == (True, 0, None)


def punched(net: Net, lengths: Lengths) -> Value:
    """Causal, but for one distance."""
    distance = net.op("sub", query_positions(net, lengths), key_positions(net, lengths))
    return net.op("and", causal(net, lengths), net.op("not", net.op("equal", distance, 40)))


def prefix(net: Net, lengths: Lengths) -> Value:
    return net.op("or", causal(net, lengths), net.op("less", key_positions(net, lengths), 7))


def late_window(net: Net, lengths: Lengths) -> Value:
    """Causal up to 100 keys, then a window of 100 but for the first key."""
    return net.op("or", both(causal, window(100))(net, lengths), net.op("less", key_positions(net, lengths), 1))


def two_sided(net: Net, lengths: Lengths) -> Value:
    distance = net.op("sub", query_positions(net, lengths), key_positions(net, lengths))
    return net.op("less", net.op("abs", distance), 4)


def bias(net: Net, lengths: Lengths) -> Value:
    distance = net.op("sub", key_positions(net, lengths), query_positions(net, lengths))
    return net.op("cast", distance, to="float32")


def weak(net: Net, lengths: Lengths) -> Value:
    return additive(net, causal(net, lengths), -1000.0)


def per_head(net: Net, lengths: Lengths) -> Value:
    first = net.constant(np.arange(4).reshape(1, 4, 1, 1) == 0, "bool")
    return net.op("or", causal(net, lengths), first)


def by_position_ids(net: Net, lengths: Lengths) -> Value:
    given = net.input("position_ids", 1, lengths.queries, dtype="int64")
    column = net.op("reshape", given, shape=(1, 1, lengths.queries, 1))
    return net.op("less_equal", key_positions(net, lengths), column)


def window_by(arithmetic: Callable[[Net, Value], Value], limit: float) -> Mask:
    """Causal, and a function of the distance below a limit."""

    def mask(net: Net, lengths: Lengths) -> Value:
        distance = net.op("sub", query_positions(net, lengths), key_positions(net, lengths))
        return net.op("and", causal(net, lengths), net.op("less", arithmetic(net, distance), limit))

    return mask


def as_fraction(net: Net, distance: Value) -> Value:
    return net.op("mul", net.op("cast", distance, to="float32"), 0.1)


def as_float(net: Net, distance: Value) -> Value:
    return net.op("cast", distance, to="float32")


def in_blocks(net: Net, distance: Value) -> Value:
    return net.op("div", distance, 8)


def window_and_first(size: int, first: int) -> Mask:
    """A window beside the first keys: both together are causal up to `size + first` keys."""

    def mask(net: Net, lengths: Lengths) -> Value:
        seen = net.op("or", window(size)(net, lengths), net.op("less", key_positions(net, lengths), first))
        return net.op("and", causal(net, lengths), seen)

    return mask


def same_sequence(net: Net, lengths: Lengths) -> Value:
    """Several sequences in a row, which the attention mask numbers from 1."""
    given = net.input("attention_mask", 1, lengths.keys, dtype="int64")
    row = net.op("reshape", given, shape=(1, 1, 1, lengths.keys))
    column = net.cut(net.op("reshape", given, shape=(1, 1, lengths.keys, 1)), 2, lengths.past, lengths.keys)
    return net.op("and", net.op("equal", column, row), net.op("cast", row, to="bool"))


def inverted_key_mask(net: Net, lengths: Lengths) -> Value:
    return net.op("not", key_mask(net, lengths))


def enormous(net: Net, lengths: Lengths) -> Value:
    return both(causal, window(1 << 20))(net, lengths)


NEITHER = "the mask is neither causal, windowed nor full, with or without a key mask"


@pytest.mark.parametrize(
    ("mask", "kind", "lengths", "reason"),
    [
        (punched, "allowed", CACHED, NEITHER),
        (prefix, "allowed", CACHED, NEITHER),
        (late_window, "allowed", CACHED, NEITHER),
        (two_sided, "allowed", CACHED, NEITHER),
        (per_head, "allowed", CACHED, NEITHER),
        (inverted_key_mask, "allowed", CACHED, NEITHER),
        *[(window_by(as_fraction, 4.0), "allowed", lengths, NEITHER) for lengths in (CACHED, UNCACHED)],
        *[(window_by(in_blocks, 5), "allowed", lengths, NEITHER) for lengths in (CACHED, UNCACHED)],
        *[(window_and_first(size, 4), "allowed", CACHED, NEITHER) for size in (16, 1024)],
        (window_and_first(1024, 4), "allowed", UNCACHED, NEITHER),
        (same_sequence, "allowed", CACHED, NEITHER),
        (bias, "additive", CACHED, "the mask adds other numbers than 0 and minus infinity: it is a bias"),
        (weak, "additive", CACHED, "the mask adds other numbers than 0 and minus infinity: it is a bias"),
        (
            by_position_ids,
            "allowed",
            CACHED,
            "the mask depends on 'position_ids', which does not have one element for each key",
        ),
        (
            both(by_position_ids, key_mask),
            "allowed",
            CACHED,
            "the mask depends on several inputs: attention_mask, position_ids",
        ),
        (enormous, "allowed", UNCACHED, "the mask is computed with 1048576, which is more than can be tested"),
    ],
)
def test_refusals(mask: Mask, kind: str, lengths: Lengths, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        found(mask, lengths, kind)
    assert str(caught.value) == reason


def test_lengths_lie_around_every_constant() -> None:
    net = Net()
    part = both(causal, window(40))(net, CACHED)
    constants = integer_constants(net.graph, [part])
    assert 40 in constants
    choices = [(numbers["past"], numbers["seq"]) for numbers in length_choices(net.graph, constants, SEQ, TOTAL)]
    assert {39, 40, 41} <= {past for past, seq in choices if seq == 1}
    assert {39, 40, 41} <= {seq for past, seq in choices if past == 0}
    assert all(seq > 0 for _, seq in choices)
