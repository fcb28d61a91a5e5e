"""What the host relies on when it moves inputs and outputs: types of ports, layouts of their symbols, metadata."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from isa.program import Port, Program, Symbol
from isa.strict_json import as_object

if TYPE_CHECKING:
    from isa.near_bank import NearBank

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
PORT_DTYPES = ("bfloat16", "bool", "float16", "float32", "float64", *_INTEGERS)
"""Types of ONNX values that the host can convert."""

CACHE_LAYOUTS = ("key", "value")
"""`kind` in the layout of a symbol that holds the keys or the values of an attention block."""

_CACHE_NUMBERS = (
    *("kv_heads", "head_dim", "groups", "channels_per_group", "banks", "row_columns", "max_tokens", "sequences"),
)
_LARGEST = 2**31 - 1
_PORT_SPACES = {
    **dict.fromkeys(("tokens", "keys", "whole"), ("sb",)),
    "token_rows": ("bank",),
    "given": ("bank", "xb"),
    **dict.fromkeys(("past", "present"), ("bank", "key", "value", "xb")),
}
_CAM_NUMBERS = ("kv_heads", "head_dim", "max_tokens", "sequences")
_ARRAY_NUMBERS = (*_CAM_NUMBERS, "head_columns")


def host_errors(program: Program) -> Iterator[str]:
    """Everything on account of which the host could not pack an input or unpack an output, whatever the machine."""
    yield from _metadata_errors(program.metadata)
    for entry in program.entries:
        yield from (f"entry '{entry}': {message}" for message in _metadata_errors(program.entry_facts(entry)))
    for symbol in program.symbols:
        if symbol.layout.get("kind") in CACHE_LAYOUTS:
            yield from (f"symbol '{symbol.name}': {message}" for message in _cache_errors(program, symbol))
    symbols = {symbol.name: symbol for symbol in program.symbols}
    for port in program.ports:
        yield from (f"port '{port.name}': {message}" for message in _type_errors(port))
        held = symbols.get(port.symbol)
        if held is not None and port.kind in _PORT_SPACES:
            rows = _chunk(program, port)
            yield from (f"port '{port.name}': {message}" for message in _place_errors(program, port, held, rows))


def _chunk(program: Program, port: Port) -> int:
    """Most tokens of one run of the port's entry."""
    chunk = program.entry_facts(port.entry).get("chunk", program.metadata.get("chunk", 1))
    return chunk if _is_count(chunk) else 1


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _LARGEST


def _metadata_errors(metadata: Mapping[str, Any]) -> Iterator[str]:
    for key in ("max_context", "chunk"):
        if key in metadata and not _is_count(metadata[key]):
            yield f"metadata '{key}' is not an integer from 1 to {_LARGEST}"
    rows = as_object(metadata.get("table_rows", {}))
    if rows is None or not all(_is_count(count) for count in rows.values()):
        yield f"metadata 'table_rows' is not an object with integers from 1 to {_LARGEST}"


def _type_errors(port: Port) -> Iterator[str]:
    if port.dtype not in PORT_DTYPES:
        yield f"dtype '{port.dtype}' is not one of {', '.join(PORT_DTYPES)}"
    if any(isinstance(size, int) and not 0 <= size <= _LARGEST for size in port.shape):
        yield f"the sizes of its shape are integers from 0 to {_LARGEST}"


def _place_errors(program: Program, port: Port, symbol: Symbol, chunk: int) -> Iterator[str]:
    allowed = _PORT_SPACES[port.kind]
    if symbol.space not in allowed:
        yield f"a port of kind '{port.kind}' lies in space {' or '.join(allowed)}, not {symbol.space}"
    elif symbol.space in ("key", "value"):
        yield from _cam_errors(port, symbol)
    elif symbol.space == "xb":
        yield from _array_errors(port, symbol)
    elif port.kind in ("whole", "keys"):
        yield from _whole_errors(port, symbol)
    elif port.kind in ("past", "given", "present"):
        if symbol.layout.get("kind") not in CACHE_LAYOUTS:
            yield f"the layout of symbol '{symbol.name}' is not that of a cache"
        elif not any(_cache_errors(program, symbol)):
            layout = symbol.layout
            yield from _row_errors(port, layout["kv_heads"] * layout["head_dim"] * layout["sequences"])
    else:
        yield from _token_errors(program, port, symbol, chunk)


def _whole_errors(port: Port, symbol: Symbol) -> Iterator[str]:
    """Every axis has a stride; the host checks at run time that the last element is inside."""
    strides = symbol.layout.get("strides")
    if not isinstance(strides, list) or len(strides) != len(port.shape) or not all(map(_is_stride, strides)):
        yield f"the layout of symbol '{symbol.name}' needs a stride for each of {len(port.shape)} axes"
        return
    fixed = [(size, stride) for size, stride in zip(port.shape, strides, strict=True) if isinstance(size, int)]
    last = sum((size - 1) * stride for size, stride in fixed)
    if all(size for size, _ in fixed) and last >= symbol.size:
        yield f"its last element lies at word {last}, symbol '{symbol.name}' has {symbol.size} words"
    if not isinstance(symbol.layout.get("keys", ""), str):
        yield f"'keys' in the layout of symbol '{symbol.name}' is not a text"
    if not _is_default(symbol.layout.get("default", 0)):
        yield f"'default' in the layout of symbol '{symbol.name}' is neither a number of 32 bits nor \"position\""


def _is_stride(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


def _token_errors(program: Program, port: Port, symbol: Symbol, chunk: int) -> Iterator[str]:
    stride = "words_per_token" if port.kind == "tokens" else "columns"
    wrong = [key for key in ("words", stride) if not _is_count(symbol.layout.get(key))]
    if wrong:
        yield from (f"'{key}' in the layout of symbol '{symbol.name}' is not a positive integer" for key in wrong)
        return
    words, step = symbol.layout["words"], symbol.layout[stride]
    if port.kind == "tokens" and step < words:
        yield f"the layout of symbol '{symbol.name}' has {words} words in {step} words for each token"
    sequences = symbol.layout.get("sequences", 1)
    if not _is_count(sequences):
        yield f"'sequences' in the layout of symbol '{symbol.name}' is not a positive integer"
        return
    needed = step * chunk * sequences if port.kind == "tokens" else step
    if needed > symbol.size:
        yield f"the layout of symbol '{symbol.name}' needs a size of {needed}, it has {symbol.size}"
    if port.kind == "token_rows" and not _in_one_region(program, symbol):
        yield f"symbol '{symbol.name}' does not lie in a region of the banks"
    if not _is_default(symbol.layout.get("default", 0)):
        yield f"'default' in the layout of symbol '{symbol.name}' is neither a number of 32 bits nor \"position\""
    if any(not _is_axis(port, symbol.layout.get(key, 0)) for key in ("axis", "batch_axis")):
        yield f"an axis in the layout of symbol '{symbol.name}' is none of the shape {list(port.shape)}"
    yield from _row_errors(port, words * sequences)


def _is_axis(port: Port, axis: Any) -> bool:
    return type(axis) is int and 0 <= axis < max(len(port.shape), 1)


def _is_default(value: Any) -> bool:
    return value == "position" or (type(value) in (int, float) and abs(value) <= _LARGEST)


def _row_errors(port: Port, words: int) -> Iterator[str]:
    """One axis of the shape runs over the tokens; the others make up the words of a token."""
    sizes = [size for size in port.shape if isinstance(size, int)]
    if len(sizes) == len(port.shape):
        fits = any(size * words == math.prod(sizes) for size in sizes) if sizes else words == 1
    else:
        fits = len(port.shape) - len(sizes) == 1 and math.prod(sizes) == words
    if not fits:
        yield f"the shape {list(port.shape)} does not have {words} elements for each token"


def _cache_errors(program: Program, symbol: Symbol) -> Iterator[str]:
    layout = symbol.layout
    if set(layout) != {"kind", *_CACHE_NUMBERS}:
        yield f"the layout of a cache has the members kind, {', '.join(_CACHE_NUMBERS)}"
        return
    wrong = [key for key in _CACHE_NUMBERS if not _is_count(layout[key])]
    if wrong:
        yield from (f"'{key}' in its layout is not an integer from 1 to {_LARGEST}" for key in wrong)
    elif layout["kv_heads"] % layout["groups"]:
        yield f"{layout['kv_heads']} key/value heads do not fall into {layout['groups']} groups"
    elif -(-layout["head_dim"] // layout["banks"]) > layout["row_columns"]:
        yield f"a head of {layout['head_dim']} elements does not fit {layout['row_columns']} columns of a row"
    elif cache_columns(layout) > symbol.size:
        yield f"its layout takes {cache_columns(layout)} columns, it has {symbol.size}"
    elif symbol.space != "bank" or not _in_one_region(program, symbol):
        yield "a cache lies in a region of the banks"


def cache_columns(layout: Mapping[str, Any]) -> int:
    """Linear columns of a bank that a cache with well-formed `layout` takes, all sequences together.

    The channels of a group split the tokens; every bank of them holds whole rows for each head of the group.
    """
    slots = -(-layout["max_tokens"] // (layout["banks"] * layout["channels_per_group"]))
    slots_per_row = layout["row_columns"] // -(-layout["head_dim"] // layout["banks"])
    rows: int = layout["kv_heads"] // layout["groups"] * -(-slots // slots_per_row)
    return rows * int(layout["row_columns"]) * int(layout["sequences"])


def _cam_errors(port: Port, symbol: Symbol) -> Iterator[str]:
    """Keys or values in a CAM: a row for each token, the heads one behind the other."""
    layout = symbol.layout
    if not all(_is_count(layout.get(key)) for key in _CAM_NUMBERS) or layout["sequences"] != 1:
        yield f"the layout of symbol '{symbol.name}' needs {', '.join(_CAM_NUMBERS)}, and one sequence"
    elif layout["kv_heads"] * layout["max_tokens"] > symbol.size:
        yield f"the layout of symbol '{symbol.name}' takes {layout['kv_heads'] * layout['max_tokens']} rows"
    else:
        yield from _row_errors(port, layout["kv_heads"] * layout["head_dim"])


def _array_errors(port: Port, symbol: Symbol) -> Iterator[str]:
    """Keys or values in crossbars: a column for each token, the heads one behind the other."""
    layout = symbol.layout
    if not all(_is_count(layout.get(key)) for key in _ARRAY_NUMBERS) or layout["sequences"] != 1:
        yield f"the layout of symbol '{symbol.name}' needs {', '.join(_ARRAY_NUMBERS)}, and one sequence"
    elif layout["max_tokens"] > layout["head_columns"] or layout["kv_heads"] * layout["head_columns"] > symbol.size:
        yield f"the layout of symbol '{symbol.name}' takes more columns than it has: {symbol.size}"
    else:
        yield from _row_errors(port, layout["kv_heads"] * layout["head_dim"])


def _in_one_region(program: Program, symbol: Symbol) -> bool:
    end = symbol.address + symbol.size
    return any(
        region.space == "bank" and region.address <= symbol.address and end <= region.address + region.size
        for region in program.regions
    )


def host_machine_errors(program: Program, device: NearBank) -> Iterator[str]:
    """What does not fit the banks of the machine, in the layouts of a program without `host_errors`."""
    rows = {port.symbol: _chunk(program, port) for port in program.ports if port.kind == "token_rows"}
    for symbol in program.symbols:
        layout = symbol.layout
        if layout.get("kind") in CACHE_LAYOUTS:
            found = (layout["banks"], layout["row_columns"])
            if found != (device.banks, device.columns_per_row) or device.lanes != device.banks:
                yield f"the layout of symbol '{symbol.name}' is for {found[0]} banks and rows of {found[1]} columns"
            if layout["groups"] * layout["channels_per_group"] > device.channels:
                yield f"the layout of symbol '{symbol.name}' needs more than {device.channels} channels"
        elif symbol.name in rows:
            chunk = rows[symbol.name]
            room = layout["columns"] * device.lanes // 2 * device.channels
            columns = layout["columns"] * -(-chunk // device.banks)
            if layout["words"] > room or columns > symbol.size:
                yield f"symbol '{symbol.name}' has no room for {chunk} rows of {layout['words']} words"
