"""Cutting of texts into windows: what is scored, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa import InputError
from pimc.evaluation.windows import cut_windows


def test_windows_side_by_side_score_all_but_their_first_token() -> None:
    windows = cut_windows(range(2086), 512, 512)
    assert (windows.count, windows.left_over) == (4, 38)
    assert [windows.first_scored(number) for number in range(4)] == [1, 1, 1, 1]
    assert sum(windows.scored(number) for number in range(4)) == 2044
    assert windows.window(3).tolist() == list(range(1536, 2048))


@given(st.integers(2, 40), st.integers(1, 40), st.integers(0, 200))
def test_every_token_is_scored_once(size: int, stride: int, more: int) -> None:
    stride = min(size, stride)
    windows = cut_windows(range(size + more), size, stride)
    scored = [
        int(token)
        for number in range(windows.count)
        for token in windows.window(number)[windows.first_scored(number) :]
    ]
    end = size + more - windows.left_over
    firsts = set(range(0, end, size)) if stride == size else {0}
    assert scored == [token for token in range(end) if token not in firsts]
    assert 0 <= windows.left_over < stride


def test_a_limit_takes_the_first_windows() -> None:
    assert cut_windows(range(100), 10, 10, 3).count == 3
    assert cut_windows(range(100), 10, 10, 30).count == 10


def test_the_hash_is_that_of_the_tokens() -> None:
    assert cut_windows([1, 2, 3], 2, 2).sha256 == cut_windows([1, 2, 3], 3, 1).sha256
    assert cut_windows([1, 2, 3], 2, 2).sha256 != cut_windows([1, 2, 4], 2, 2).sha256


@pytest.mark.parametrize(
    ("tokens", "size", "stride", "message"),
    [
        (
            30,
            64,
            64,
            "error: the text has 30 tokens, fewer than a window of 64\nhelp: give a longer text or --window 30",
        ),
        (1, 64, 64, "error: the text has 1 tokens, fewer than a window of 64\nhelp: give a longer text"),
        (30, 1, 1, "error: a window of 1 tokens predicts nothing\nhelp: give --window 2 or more"),
        (30, 8, 9, "error: a stride of 9 tokens does not fit windows of 8\nhelp: give --stride from 1 to 8"),
    ],
)
def test_what_does_not_fit_is_refused(tokens: int, size: int, stride: int, message: str) -> None:
    with pytest.raises(InputError) as caught:
        cut_windows(range(tokens), size, stride)
    assert str(caught.value) == message
