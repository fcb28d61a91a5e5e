"""Numbers with units."""

from __future__ import annotations

import math

import pytest

from pimc.report.quantities import byte_size, count, percent, with_unit


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 J"),
        (0.00042, "420 µJ"),
        (1.5e-12, "1.50 pJ"),
        (999.6, "1.00 kJ"),
        (12345.0, "12.3 kJ"),
        (-0.02, "-20.0 mJ"),
        (1e-20, "0.0000100 fJ"),
        (math.inf, "inf J"),
        (math.nan, "-"),
        (None, "-"),
    ],
)
def test_with_unit(value: float | None, text: str) -> None:
    assert with_unit(value, "J") == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (4194304, "4.00 MiB"), (17_179_869_184, "16.0 GiB")]
)
def test_byte_size(size: int, text: str) -> None:
    assert byte_size(size) == text


def test_count_and_percent() -> None:
    assert count(1234567) == "1,234,567"
    assert (percent(0.1234), percent(None), percent(math.nan)) == ("12.3 %", "-", "-")
