"""Outputs in the shape that the model gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import Port
from pimc.simulator.host_inputs import token_axis

Array = NDArray[Any]


def join_rows(port: Port, parts: Sequence[Array]) -> Array:
    """Rows [sequences, tokens, words] of consecutive chunks as one array of the port's shape."""
    rows = np.concatenate(parts, axis=1)
    sequences, tokens, words = rows.shape
    shape = [dim if isinstance(dim, int) else tokens for dim in port.shape]
    axis = token_axis(port, shape, words * sequences)
    place = 1 if sequences > 1 else 0
    rest = [size for number, size in enumerate(shape) if number != axis]
    moved = rows.reshape(*rest[:place], tokens, *rest[place:])
    return np.ascontiguousarray(np.moveaxis(moved, place, axis))
