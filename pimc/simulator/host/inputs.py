"""Arrays that the user gives, checked against the ports of a program."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import InputError, Port, Program, ProgramError, Symbol, UnsupportedError
from passes import Affine, bind, parse_dim
from pimc.simulator.host.symbols import bind_symbols

Array = NDArray[Any]


@dataclass(frozen=True)
class Request:
    """What one run is asked for, after every check.

    Attributes:
        arrays: Given arrays by port name.
        tokens: Tokens of the run.
        past: Length of the given `past` arrays; `None` when none was given.
        symbols: Sizes of dynamic dimensions that the arrays show.
    """

    arrays: Mapping[str, Array]
    tokens: int
    past: int | None
    symbols: Mapping[str, int]


def input_ports(program: Program) -> dict[str, Port]:
    """Input ports by name."""
    return {port.name: port for port in program.ports if port.direction == "input"}


def output_ports(program: Program) -> dict[str, Port]:
    """Output ports by name."""
    return {port.name: port for port in program.ports if port.direction == "output"}


def token_port(program: Program) -> Port:
    """The input of token numbers; raises `UnsupportedError` when there is none."""
    for port in program.ports:
        if port.direction == "input" and port.kind == "tokens" and np.dtype(port.dtype).kind in "iu":
            layout = program.symbol(port.symbol).layout
            if layout["words"] == 1 and layout.get("default") != "position":
                return port
    raise UnsupportedError("the model has no input of token numbers", help="use Session.run with arrays")


def check_inputs(program: Program, given: Mapping[str, Array], resident: Collection[str] = ()) -> Request:
    """Check names, types and shapes of the given arrays.

    Args:
        program: The program, or what concerns one of its entries.
        given: Arrays by ONNX input name.
        resident: Names of inputs whose contents are in the machine already.

    Raises:
        InputError: all independent faults in one message: unknown or missing names, types, shapes, lengths that
            contradict each other.
    """
    ports = input_ports(program)
    unknown = [name for name in given if name not in ports]
    if unknown:
        raise InputError(f"the model has no input {_quoted(unknown)}", notes=[f"its inputs are {_quoted(ports)}"])
    arrays = {name: np.asarray(array) for name, array in given.items()}
    problems = [*_missing(program, {**dict.fromkeys(resident), **arrays})]
    for name, array in arrays.items():
        problems += _array_problems(program, ports[name], array) or _range_problems(program, name, array)
    if problems:
        raise InputError(f"{len(problems)} of the inputs cannot be used", notes=problems)
    past = _past(program, arrays)
    tokens = _tokens(program, arrays)
    symbols = bind_symbols(ports, arrays, {})
    return Request(arrays, tokens if tokens is not None else _main_tokens(program, symbols), past, symbols)


def check_outputs(program: Program, names: Sequence[str] | None) -> tuple[str, ...]:
    """The wanted outputs; all of them when `names` is `None`.

    Raises:
        InputError: the model has no output of that name.
    """
    ports = output_ports(program)
    wanted = tuple(ports) if names is None else tuple(names)
    unknown = [name for name in wanted if name not in ports]
    if unknown:
        raise InputError(f"the model has no output {_quoted(unknown)}", notes=[f"its outputs are {_quoted(ports)}"])
    return wanted


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


def _missing(program: Program, arrays: Mapping[str, Array | None]) -> list[str]:
    ports = input_ports(program)
    missing = [
        f"'{port.name}' is missing: {port.dtype} {_shape_text(port)}"
        + (f", or run '{port.filled_by.partition('/')[0]}' first" if port.filled_by else "")
        for port in ports.values()
        if port.name not in arrays and _is_required(program, port)
    ]
    cache = [name for name, port in ports.items() if port.kind in ("past", "given")]
    absent = [name for name in cache if arrays.get(name) is None]
    if absent and len(absent) < len(cache):
        missing.append(f"{len(absent)} of {len(cache)} cache inputs are missing: {_quoted(absent[:4])}")
    counting = [name for name, port in ports.items() if port.kind == "tokens"]
    if counting and not any(name in arrays for name in counting):
        missing.append(f"no input says how many tokens there are: give one of {_quoted(counting)}")
    return missing


def _is_required(program: Program, port: Port) -> bool:
    if port.kind == "given":
        return True
    return port.kind in ("tokens", "whole") and "default" not in program.symbol(port.symbol).layout


def layout_number(symbol: Symbol, key: str) -> int:
    """The integer `key` of a symbol's layout; raises `ProgramError` when it is absent."""
    value = symbol.layout.get(key)
    if not isinstance(value, int):
        raise ProgramError(f"the layout of symbol '{symbol.name}' has no number '{key}'")
    return value


def _shape_text(port: Port) -> str:
    return "[" + ", ".join(str(dim) for dim in port.shape) + "]"


def _array_problems(program: Program, port: Port, array: Array) -> list[str]:
    problems: list[str] = []
    allowed = np.dtype(port.dtype)
    if port.kind == "keys":
        if array.dtype.kind not in "biuf":
            problems.append(f"'{port.name}' is {array.dtype}, allowed: numbers and booleans")
    elif not np.can_cast(array.dtype, allowed, "safe"):
        problems.append(f"'{port.name}' is {array.dtype}, allowed: {allowed}")
    elif allowed.kind in "iu" and array.size and not _fits_int32(array):
        problems.append(f"'{port.name}' has values from {array.min()} to {array.max()}, which do not fit 32 bits")
    fits = array.ndim == len(port.shape) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(port.shape, array.shape, strict=True)
    )
    if not fits:
        problems.append(f"'{port.name}' has the shape {list(array.shape)}, allowed: {_shape_text(port)}")
    return problems


def _range_problems(program: Program, name: str, array: Array) -> list[str]:
    """Numbers that index a table must name one of its rows; negative ones count from its end."""
    rows = program.metadata.get("table_rows", {}).get(name)
    if rows is None or not array.size or (array.min() >= -rows and array.max() < rows):
        return []
    return [f"'{name}' has values from {array.min()} to {array.max()}, allowed: {-rows} to {rows - 1}"]


def _fits_int32(array: Array) -> bool:
    bounds = np.iinfo(np.int32)
    return bool(array.min() >= bounds.min and array.max() <= bounds.max)


def token_axis(port: Port, symbol: Symbol, shape: Sequence[int]) -> int:
    """Axis of `shape` that runs over the tokens (or positions).

    The layout says it; keys and values of rank 4 are [batch, heads, tokens, elements]. Otherwise it is the dynamic
    dimension; in a shape without one, axis 1 when the elements of a token fit, else the first where they do.
    """
    axis = symbol.layout.get("axis")
    if isinstance(axis, int):
        return axis
    is_cache = "kv_heads" in symbol.layout
    if is_cache and len(shape) == 4:
        return 2
    words = cache_words(symbol) if is_cache else layout_number(symbol, "words") * int(symbol.layout.get("sequences", 1))
    dynamic = [axis for axis, dim in enumerate(port.shape) if not isinstance(dim, int)]
    if len(dynamic) == 1:
        return dynamic[0]
    total = int(np.prod(shape))
    fitting = [axis for axis in (1, *range(len(shape))) if axis < len(shape) and shape[axis] * words == total]
    return fitting[0] if fitting else 0


def _main_tokens(program: Program, symbols: Mapping[str, int]) -> int:
    """Tokens of a run whose inputs have no rows of their own, from the sizes of other inputs."""
    tokens = bind(parse_dim(str(program.metadata.get("tokens", 1))), symbols)
    if isinstance(tokens, Affine):
        raise InputError(f"no input says how large the dimension '{tokens}' is")
    return tokens


def _tokens(program: Program, arrays: Mapping[str, Array]) -> int | None:
    ports = input_ports(program)
    counts: dict[str, int] = {}
    for name, array in arrays.items():
        if ports[name].kind == "tokens":
            symbol = program.symbol(ports[name].symbol)
            counts[name] = array.shape[token_axis(ports[name], symbol, array.shape)] if array.ndim else 1
    if len(set(counts.values())) > 1:
        raise InputError(
            "the inputs have different numbers of tokens",
            notes=[f"'{name}': {count} tokens" for name, count in counts.items()],
        )
    tokens = next(iter(counts.values()), None)
    if tokens == 0:
        raise InputError("the inputs have no tokens", help="give at least one token")
    return tokens


def cache_words(symbol: Symbol) -> int:
    """Elements of one token of all sequences in a cache."""
    return layout_number(symbol, "kv_heads") * layout_number(symbol, "head_dim") * layout_number(symbol, "sequences")


def _past(program: Program, arrays: Mapping[str, Array]) -> int | None:
    ports = input_ports(program)
    lengths: dict[str, int] = {}
    for name, array in arrays.items():
        if ports[name].kind == "past":
            symbol = program.symbol(ports[name].symbol)
            lengths[name] = array.shape[token_axis(ports[name], symbol, array.shape)]
    if len(set(lengths.values())) > 1:
        raise InputError(
            "the cache inputs have different lengths",
            notes=[f"'{name}': {length} tokens" for name, length in lengths.items()][:8],
        )
    return next(iter(lengths.values()), None)
