"""Inputs of the model that the user makes constants."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from isa import InputError, Place
from passes import TensorType
from pimc.frontend.builder import Array
from pimc.frontend.symbols import dimensions_help

_KINDS = {"b": "true or false", "i": "integers", "u": "integers", "f": "numbers"}
_FITTING = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
"""Kinds of numpy values that an element type takes, by its own kind."""


def bound_inputs(types: Mapping[str, TensorType], values: Mapping[str, Any], place: Place) -> dict[str, Array]:
    """Arrays for the inputs that become constants.

    Args:
        types: Types of all inputs, with the bound dimensions as numbers.
        values: Numbers, bools, nested lists or arrays by input name; one number fills the whole input.
        place: The model, for messages.

    Raises:
        InputError: There is no such input, or a value does not fit its type.
    """
    for name in values:
        if name not in types:
            close = difflib.get_close_matches(name, types, 1, cutoff=0.4)
            raise InputError(
                f"the model has no input '{name}' that could be bound",
                place,
                notes=[f"its inputs: {', '.join(types) or 'none'}"],
                help=f"did you mean '{close[0]}'?" if close else None,
            )
    return {name: _array(name, types[name], value, place) for name, value in values.items()}


def _array(name: str, kind: TensorType, value: Any, place: Place) -> Array:
    shape = [dim for dim in kind.shape if isinstance(dim, int)]
    if len(shape) < kind.rank:
        message = f"the input '{name}' is {kind}: its dimensions must be numbers to bind it"
        raise InputError(message, place, help=dimensions_help(kind.shape))
    try:
        given = np.asarray(value)
    except ValueError:
        raise InputError(f"the value of '{name}' is not an array: its rows have different lengths", place) from None
    wanted = np.dtype(kind.dtype)
    expected = "f" if wanted.kind == "V" else wanted.kind
    if given.size and given.dtype.kind not in _FITTING[expected]:
        raise InputError(f"the input '{name}' is {kind}, so that its value must be {_KINDS[expected]}", place)
    if given.ndim and given.shape != tuple(shape):
        raise InputError(f"the input '{name}' is {kind}, but its value has the shape {list(given.shape)}", place)
    if expected in "iu" and given.size:
        limits = np.iinfo(wanted)
        if given.min() < limits.min or given.max() > limits.max:
            raise InputError(f"the value of '{name}' does not fit into {kind.dtype}", place)
    return np.broadcast_to(given, shape).astype(wanted)
