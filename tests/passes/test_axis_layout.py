from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests_graphs import PAST, SEQ, TOTAL

from passes.dims import Dim, product
from passes.layout import moves_only_units, reshape_groups


@pytest.mark.parametrize(
    ("source", "target", "groups"),
    [
        ((2, 3, 4), (6, 4), [((0, 1), (0,)), ((2,), (1,))]),
        ((6, 4), (2, 3, 4), [((0,), (0, 1)), ((1,), (2,))]),
        ((1, SEQ, 8), (SEQ, 8), [((0, 1), (0,)), ((2,), (1,))]),
        ((1, 4, TOTAL, 8), (4, TOTAL, 8), [((0, 1), (0,)), ((2,), (1,)), ((3,), (2,))]),
        ((SEQ, 8), (SEQ, 8, 1), [((0,), (0,)), ((1,), (1, 2))]),
        ((4, SEQ), (2, 2 * SEQ), [((0, 1), (0, 1))]),
        ((1, 1), (), [((0, 1), ())]),
        ((), (), []),
    ],
)
def test_groups(source: tuple[Dim, ...], target: tuple[Dim, ...], groups: object) -> None:
    assert reshape_groups(source, target) == groups


@pytest.mark.parametrize(
    ("source", "target"), [((0, 4), (4, 0)), ((SEQ, PAST), (PAST, SEQ)), ((2, 3), (5,)), ((2, 3), (2, 3, 2))]
)
def test_no_groups_where_shapes_do_not_correspond(source: tuple[Dim, ...], target: tuple[Dim, ...]) -> None:
    assert reshape_groups(source, target) is None


@given(st.lists(st.integers(1, 4), max_size=5), st.lists(st.integers(0, 5), max_size=4))
def test_groups_partition_both_shapes(sizes: list[int], cuts: list[int]) -> None:
    bounds = sorted({0, len(sizes), *(cut for cut in cuts if cut <= len(sizes))})
    joined = tuple(product(tuple(sizes[a:b])) for a, b in pairwise(bounds))
    groups = reshape_groups(tuple(sizes), joined)
    assert groups is not None
    assert [axis for source, _ in groups for axis in source] == list(range(len(sizes)))
    assert [axis for _, target in groups for axis in target] == list(range(len(joined)))
    for source, target in groups:
        assert product(tuple(sizes[i] for i in source)) == product(tuple(joined[j] for j in target))


def test_transposes_of_units_are_reshapes() -> None:
    assert moves_only_units((1, SEQ, 1, 8), (0, 2, 1, 3))
    assert not moves_only_units((1, SEQ, 2, 8), (0, 2, 1, 3))
