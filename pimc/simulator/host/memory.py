"""How the host writes inputs into the memory of the machine, and reads outputs back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import CACHE_LAYOUTS, Port, ResourceLimitError, Symbol, UnsupportedError
from pimc.kv_layout import KvLayout
from pimc.simulator.host.arrays import is_in_arrays, store_in_arrays
from pimc.simulator.host.cam import is_in_cam, store_in_cam
from pimc.simulator.host.inputs import layout_number, token_axis
from pimc.simulator.state.machine_state import MachineState

Array = NDArray[Any]

_POSITION = "position"
"""Default of an input that counts positions: kv_length + index of the token."""


def as_words(array: Array) -> NDArray[np.uint32]:
    """Elements as raw words of the shared buffer: int32 for integers and booleans, binary32 for others."""
    kind = np.float32 if _is_real(array.dtype) else np.int32
    return np.ascontiguousarray(array, dtype=kind).view(np.uint32)


def _is_real(dtype: np.dtype[Any]) -> bool:
    """Whether elements are floating-point numbers; bfloat16 is a kind of its own to numpy."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def from_words(words: NDArray[np.uint32], dtype: np.dtype[Any]) -> Array:
    """Raw words as elements of `dtype`."""
    return words.view(np.float32 if _is_real(dtype) else np.int32).astype(dtype)


def token_rows(port: Port, symbol: Symbol, array: Array) -> Array:
    """The elements of each token, [sequences, tokens, words]."""
    words, sequences = layout_number(symbol, "words"), int(symbol.layout.get("sequences", 1))
    if not array.ndim:
        return array.reshape(1, 1, 1)
    axis = token_axis(port, symbol, array.shape)
    return np.moveaxis(array, *row_order(symbol, axis)).reshape(sequences, array.shape[axis], words)


def row_order(symbol: Symbol, axis: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(axes of the sequences, when there are several, and of the tokens, where they go when rows come first)."""
    if int(symbol.layout.get("sequences", 1)) == 1:
        return (axis,), (0,)
    return (int(symbol.layout.get("batch_axis", 0)), axis), (0, 1)


def default_rows(symbol: Symbol, first_position: int, tokens: int) -> Array:
    """What an input holds that was not given, [sequences, tokens, words]: positions, or a constant."""
    words, sequences = layout_number(symbol, "words"), int(symbol.layout.get("sequences", 1))
    default = symbol.layout["default"]
    if default == _POSITION:
        positions = np.arange(first_position, first_position + tokens)
        return np.broadcast_to(positions[None, :, None], (sequences, tokens, words))
    return np.full((sequences, tokens, words), default)


def write_token_rows(state: MachineState, symbol: Symbol, rows: Array, chunk: int) -> None:
    """Write [sequences, tokens, words] to the places of the first tokens of a run; padding behind a row becomes 0."""
    stride = layout_number(symbol, "words_per_token")
    _check_size(symbol, (len(rows) - 1) * chunk * stride + rows.shape[1] * stride)
    padded = np.zeros((rows.shape[1], stride), np.uint32)
    for sequence, own in enumerate(rows):
        padded[:, : rows.shape[2]] = as_words(own)
        start = symbol.address + sequence * chunk * stride
        state.shared.view(np.uint32)[start : start + padded.size] = padded.reshape(-1)


def _check_size(symbol: Symbol, words: int) -> None:
    if words > symbol.size:
        raise ResourceLimitError(
            f"the array '{symbol.name}' is too large",
            notes=[f"demand: {words} words", f"bound: {symbol.size} words of the shared buffer"],
            help="compile with a larger --max-context",
        )


def write_whole(state: MachineState, symbol: Symbol, array: Array) -> None:
    """Write a whole array to words that lie apart as the strides of the layout say."""
    if array.size:
        _strided(state, symbol, array.shape)[...] = as_words(array).reshape(array.shape)


def read_whole(state: MachineState, port: Port, symbol: Symbol, shape: tuple[int, ...]) -> Array:
    """Read a whole array; the inverse of `write_whole`."""
    words = np.ascontiguousarray(_strided(state, symbol, shape))  # of at least one axis
    return from_words(words, np.dtype(port.dtype)).reshape(shape)


def _strides(symbol: Symbol, rank: int) -> list[int]:
    return list(symbol.layout["strides"]) or [0] * rank


def _strided(state: MachineState, symbol: Symbol, shape: tuple[int, ...]) -> NDArray[np.uint32]:
    """The words of an array as a view of the shared buffer, all of them inside the symbol."""
    words = state.shared.view(np.uint32)[symbol.address : symbol.address + symbol.size]
    strides = _strides(symbol, len(shape))
    if all(shape):
        _check_size(symbol, 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True)))
    return np.lib.stride_tricks.as_strided(words, shape, [4 * stride for stride in strides])


def read_token_rows(state: MachineState, port: Port, symbol: Symbol, first: int, end: int, chunk: int) -> Array:
    """Outputs of the tokens `first` to `end` - 1 of the latest run, [sequences, tokens, words]."""
    if symbol.space == "bank":
        rows = _rows_in_banks(state, symbol, first, end)[None]
    else:
        sequences = int(symbol.layout.get("sequences", 1))
        rows = np.stack([_rows_in_buffer(state, symbol, first, end, number * chunk) for number in range(sequences)])
    return from_words(rows, np.dtype(port.dtype))


def _rows_in_buffer(state: MachineState, symbol: Symbol, first: int, end: int, earlier: int) -> NDArray[np.uint32]:
    words, stride = layout_number(symbol, "words"), layout_number(symbol, "words_per_token")
    start = symbol.address + (earlier + first) * stride
    rows = state.shared.view(np.uint32)[start : start + (end - first) * stride].reshape(end - first, stride)
    return rows[:, :words].copy()


def _rows_in_banks(state: MachineState, symbol: Symbol, first: int, end: int) -> NDArray[np.uint32]:
    """Rows that were spilled: token t in bank t mod banks, its words spread over all channels, two lanes a word."""
    words, columns = layout_number(symbol, "words"), layout_number(symbol, "columns")
    region = state.region_at(symbol.address)
    if region is None:
        raise AssertionError(f"symbol '{symbol.name}' lies in no region")
    lanes, banks = state.geometry.lanes, state.geometry.banks
    rows = np.empty((end - first, words), np.uint32)
    for token in range(first, end):
        start = (symbol.address - region.low + token // banks * columns) * lanes
        stored = np.ascontiguousarray(region.data[:, token % banks, start : start + columns * lanes])
        whole = stored.view(np.uint32) if stored.dtype == np.uint16 else stored.view(np.uint32)[:, ::2]
        rows[token - first] = whole.reshape(-1)[:words]
    return rows


def store_cache(state: MachineState, port: Port, symbol: Symbol, array: Array) -> None:
    """Put a `past` array into the resident cache."""
    if is_in_cam(symbol) or is_in_arrays(symbol):
        heads, width = layout_number(symbol, "kv_heads"), layout_number(symbol, "head_dim")
        rows = np.moveaxis(array, token_axis(port, symbol, array.shape), 0)
        store = store_in_cam if is_in_cam(symbol) else store_in_arrays
        store(state, symbol, np.moveaxis(rows.reshape(-1, heads, width), 0, 1))
        return
    layout = KvLayout.from_json(symbol.layout)
    region = _cache_region(state, symbol)
    heads_first = _heads_first(port, array, symbol, layout)
    layout.store(region.data, symbol.address - region.low, heads_first)


def clear_cache(state: MachineState, symbols: Iterable[Symbol], first: int, end: int) -> None:
    """Set the tokens `first` to `end` - 1 of every resident cache to zero."""
    if first == 0:
        for region in state.regions:
            if region.region.role == "cache":
                region.reset()
        return
    for symbol in symbols:
        if symbol.layout.get("kind") in CACHE_LAYOUTS:
            layout = KvLayout.from_json(symbol.layout)
            region = _cache_region(state, symbol)
            end_of_cache = min(end, layout.max_tokens)
            shape = (layout.sequences, layout.kv_heads, max(end_of_cache - first, 0), layout.head_dim)
            zeros = np.zeros(shape, np.float32)
            layout.store(region.data, symbol.address - region.low, zeros, first)


def cache_elements(state: MachineState, symbol: Symbol, slots: NDArray[np.int64]) -> Array:
    """What lies in slots of a resident cache: [sequences, kv_heads, slots, head_dim]."""
    region = _cache_region(state, symbol)
    return KvLayout.from_json(symbol.layout).load(region.data, symbol.address - region.low, slots)


def cache_array(port: Port, symbol: Symbol, found: Array) -> Array:
    """Keys or values [sequences, kv_heads, tokens, head_dim] in the shape of a `present` output.

    Raises:
        UnsupportedError: the output's shape is fixed, and the cache keeps another number of tokens.
    """
    sequences, tokens = found.shape[0], found.shape[2]
    shape = [dim if isinstance(dim, int) else tokens for dim in port.shape]
    if math.prod(shape) != found.size:
        raise UnsupportedError(
            f"the shape of '{port.name}' is fixed, and the cache keeps another number of tokens: {tokens}",
            help="leave this output out, or export the model with a symbolic length",
        )
    rows = np.moveaxis(found, 2, 1).reshape(sequences, tokens, -1)
    return from_rows(port, symbol, rows, shape).astype(port.dtype)


def from_rows(port: Port, symbol: Symbol, rows: Array, shape: Sequence[int]) -> Array:
    """Rows [sequences, tokens, words] as an array of the port's shape; the inverse of `token_rows`."""
    places, first = row_order(symbol, token_axis(port, symbol, shape))
    rest = [size for axis, size in enumerate(shape) if axis not in places]
    apart = rows.reshape(*(shape[axis] for axis in places), *rest)
    return np.ascontiguousarray(np.moveaxis(apart, first, places))


def _heads_first(port: Port, array: Array, symbol: Symbol, layout: KvLayout) -> Array:
    """[sequences, kv_heads, tokens, head_dim] of a `past` array, whose other axes are in this order."""
    rows = np.moveaxis(array, *row_order(symbol, token_axis(port, symbol, array.shape)))
    return np.moveaxis(rows.reshape(layout.sequences, -1, layout.kv_heads, layout.head_dim), 1, 2)


def _cache_region(state: MachineState, symbol: Symbol) -> Any:
    region = state.region_at(symbol.address)
    if region is None:
        raise AssertionError(f"symbol '{symbol.name}' lies in no region")
    return region
