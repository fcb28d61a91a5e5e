"""Which words count as written, where writes touch, overlap or leave gaps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import isa

RANGES = st.tuples(st.integers(0, 24), st.integers(0, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))
HEAD = """
.machine "gddr6-aim"
.symbols
.region work, sb, address=0, size=64, role=scratch
.text
.entry run
"""


def _check(machine: isa.Machine, writes: list[tuple[int, int]], low: int, high: int) -> list[str]:
    fills = [f"vfill dst=[{first}], len={last - first + 1}" for first, last in writes]
    lines = [*fills, f"vmap dst=[40], a=[{low}], len={high - low + 1}", "halt", ""]
    return [each.message for each in isa.check_program(isa.assemble(HEAD + "\n".join(lines)), machine)]


@pytest.mark.parametrize("writes", [[(0, 14), (15, 15)], [(15, 15), (0, 14)], [(0, 3), (8, 15), (4, 7)]])
def test_adjacent_writes_are_one_written_range(machine: isa.Machine, writes: list[tuple[int, int]]) -> None:
    assert _check(machine, writes, 0, 15) == []


@given(st.lists(RANGES, max_size=6), RANGES)
def test_the_first_word_that_nothing_wrote_is_named(
    machine: isa.Machine, writes: list[tuple[int, int]], read: tuple[int, int]
) -> None:
    written = {word for low, high in writes for word in range(low, high + 1)}
    missing = [word for word in range(read[0], read[1] + 1) if word not in written]
    expected = [f"vmap: it reads word {missing[0]} of the shared buffer, which nothing has written"] if missing else []
    assert _check(machine, writes, *read) == expected
