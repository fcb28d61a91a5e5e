"""JSON without its freedoms: one text for each value, no duplicate keys, no NaN."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def canonical_json(value: Any) -> str:
    """JSON text that depends on the value alone: sorted keys, no spaces, ASCII; `ValueError` for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def strict_json(text: str | bytes) -> Any:
    """Read JSON; raises `ValueError` also for duplicate keys, NaN, infinities and excessive depth."""
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is given twice")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def as_object(value: Any) -> dict[str, Any] | None:
    """`value` when it is a JSON object, else `None`."""
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType]


def as_list(value: Any) -> list[Any] | None:
    """`value` when it is a JSON list, else `None`."""
    return value if isinstance(value, list) else None  # pyright: ignore[reportUnknownVariableType]
