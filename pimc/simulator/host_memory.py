"""How the host writes inputs into the memory of the machine, and reads outputs back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import CACHE_LAYOUTS, Port, ResourceLimitError, Symbol
from pimc.kv_layout import KvLayout
from pimc.simulator.host_inputs import layout_number, token_axis
from pimc.simulator.state import MachineState

Array = NDArray[Any]

_POSITION = "position"
"""Default of an input that counts positions: kv_length + index of the token."""


def as_words(array: Array) -> NDArray[np.uint32]:
    """Elements as raw words of the shared buffer: int32 for integers and booleans, binary32 for others."""
    kind = np.float32 if array.dtype.kind == "f" else np.int32
    return np.ascontiguousarray(array, dtype=kind).view(np.uint32)


def from_words(words: NDArray[np.uint32], dtype: np.dtype[Any]) -> Array:
    """Raw words as elements of `dtype`."""
    return words.view(np.float32 if dtype.kind == "f" else np.int32).astype(dtype)


def token_rows(port: Port, array: Array, words: int) -> Array:
    """The elements of each token, [tokens, words]."""
    return np.moveaxis(array, token_axis(port, array.shape, words), 0).reshape(-1, words) if array.ndim else array


def default_rows(symbol: Symbol, first_position: int, tokens: int) -> Array:
    """What an input holds that was not given, [tokens, words]: positions, or a constant."""
    words = layout_number(symbol, "words")
    default = symbol.layout["default"]
    if default == _POSITION:
        return np.broadcast_to(np.arange(first_position, first_position + tokens)[:, None], (tokens, words))
    return np.full((tokens, words), default)


def write_token_rows(state: MachineState, symbol: Symbol, rows: Array) -> None:
    """Write [tokens, words] to the places of the first tokens of a run; padding behind a row becomes 0."""
    stride = layout_number(symbol, "words_per_token")
    _check_size(symbol, len(rows) * stride)
    padded = np.zeros((len(rows), stride), np.uint32)
    padded[:, : rows.shape[1]] = as_words(rows)
    state.shared.view(np.uint32)[symbol.address : symbol.address + padded.size] = padded.reshape(-1)


def _check_size(symbol: Symbol, words: int) -> None:
    if words > symbol.size:
        raise ResourceLimitError(
            f"the input '{symbol.name}' is too large",
            notes=[f"demand: {words} words", f"bound: {symbol.size} words of the shared buffer"],
            help="compile with a larger --max-context",
        )


def write_words(state: MachineState, symbol: Symbol, array: Array) -> None:
    """Write a whole array to consecutive words."""
    words = as_words(array).reshape(-1)
    _check_size(symbol, words.size)
    state.shared.view(np.uint32)[symbol.address : symbol.address + words.size] = words


def read_words(state: MachineState, port: Port, symbol: Symbol, shape: tuple[int, ...]) -> Array:
    """Read a whole array from consecutive words."""
    words = state.shared.view(np.uint32)[symbol.address : symbol.address + int(np.prod(shape))]
    return from_words(words.copy(), np.dtype(port.dtype)).reshape(shape)


def read_token_rows(state: MachineState, port: Port, symbol: Symbol, first: int, end: int) -> Array:
    """Outputs of the tokens `first` to `end` - 1 of the latest run, [tokens, words]."""
    read = _rows_in_banks if symbol.space == "bank" else _rows_in_buffer
    return from_words(read(state, symbol, first, end), np.dtype(port.dtype))


def _rows_in_buffer(state: MachineState, symbol: Symbol, first: int, end: int) -> NDArray[np.uint32]:
    words, stride = layout_number(symbol, "words"), layout_number(symbol, "words_per_token")
    start = symbol.address + first * stride
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
    layout = KvLayout.from_json(symbol.layout)
    region = _cache_region(state, symbol)
    heads_first = _heads_first(port, array, layout)
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
            zeros = np.zeros((layout.kv_heads, end - first, layout.head_dim), np.float32)
            layout.store(region.data, symbol.address - region.low, zeros, first)


def load_cache(state: MachineState, port: Port, symbol: Symbol, tokens: int) -> Array:
    """The first `tokens` tokens of the resident cache in the shape of a `present` output."""
    layout = KvLayout.from_json(symbol.layout)
    region = _cache_region(state, symbol)
    found = layout.load(region.data, symbol.address - region.low, tokens)
    shape = [dim if isinstance(dim, int) else tokens for dim in port.shape]
    axis = token_axis(port, shape, layout.kv_heads * layout.head_dim)
    heads, features = found.shape[0], found.shape[2]
    moved = np.moveaxis(found, 1, 0).reshape(tokens, *_without(shape, axis)) if heads * features else found
    return np.ascontiguousarray(np.moveaxis(moved, 0, axis)).astype(port.dtype)


def _without(shape: list[int], axis: int) -> list[int]:
    return [size for number, size in enumerate(shape) if number != axis]


def _heads_first(port: Port, array: Array, layout: KvLayout) -> Array:
    """[kv_heads, tokens, head_dim] of a `past` array, whose other axes are heads and elements in this order."""
    axis = token_axis(port, array.shape, layout.kv_heads * layout.head_dim)
    tokens = array.shape[axis]
    rows = np.moveaxis(array, axis, 0).reshape(tokens, layout.kv_heads, layout.head_dim)
    return np.moveaxis(rows, 0, 1)


def _cache_region(state: MachineState, symbol: Symbol) -> Any:
    region = state.region_at(symbol.address)
    if region is None:
        raise AssertionError(f"symbol '{symbol.name}' lies in no region")
    return region
