"""Numbers as a person reads them, with their unit."""

from __future__ import annotations

import math

_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}


def with_unit(value: float | None, unit: str, digits: int = 3) -> str:
    """`value` in `unit` with an SI prefix: 0.00042, "J" gives "420 µJ"; `None` and NaN give "-"."""
    if value is None or math.isnan(value):
        return "-"
    if value == 0 or math.isinf(value):
        return f"{value:g} {unit}"
    exponent = math.floor(math.log10(abs(value)) / 3) * 3
    if abs(float(f"{value / 10**exponent:.{digits}g}")) >= 1000:
        exponent += 3
    exponent = min(max(exponent, min(_PREFIXES)), max(_PREFIXES))
    return f"{_significant(value / 10**exponent, digits)} {_PREFIXES[exponent]}{unit}"


def _significant(value: float, digits: int) -> str:
    rounded = float(f"{value:.{digits}g}")
    decimals = max(digits - 1 - math.floor(math.log10(abs(rounded))), 0)
    return f"{rounded:.{decimals}f}"


def byte_size(count: int) -> str:
    """A number of bytes with a binary prefix: 4194304 gives "4.00 MiB"."""
    size, prefix = float(count), ""
    for larger in ("Ki", "Mi", "Gi", "Ti"):
        if size < 1024:
            break
        size, prefix = size / 1024, larger
    return f"{count} B" if not prefix else f"{_significant(size, 3)} {prefix}B"


def count(value: int) -> str:
    """A whole number with thousands separated: 12345 gives "12,345"."""
    return f"{value:,}"


def percent(share: float | None) -> str:
    """A share of one: 0.1234 gives "12.3 %"; `None` gives "-"."""
    return "-" if share is None or math.isnan(share) else f"{100 * share:.1f} %"
