"""Arrays for the inputs of a program, made from its ports: token steps, masks, positions, seeded values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import InputError, Port
from passes import Affine, Dim, Graph, Value, bind, parse_dim

Array = NDArray[Any]


@dataclass(frozen=True)
class Step:
    """One run of a model.

    Attributes:
        tokens: Number of tokens of the run.
        past: Number of tokens that the cache holds before it.
        masked: First masked-out position and the one after the last, when the model has a mask.
    """

    tokens: int
    past: int = 0
    masked: tuple[int, int] = (0, 0)


def inputs_of(ports: Iterable[Port]) -> tuple[Port, ...]:
    """The ports that the host gives, without the resident cache."""
    return tuple(port for port in ports if port.direction == "input" and port.kind != "past")


def has_cache(ports: Iterable[Port]) -> bool:
    """Whether the model takes and returns keys and values."""
    return any(port.kind == "past" for port in ports)


def has_mask(ports: Iterable[Port]) -> bool:
    """Whether the model takes a mask of positions."""
    return any(_role(port) == "mask" for port in inputs_of(ports))


def is_mask(port: Port) -> bool:
    """Whether an input is a mask of positions."""
    return _role(port) == "mask"


def fixed_tokens(ports: Iterable[Port]) -> int | None:
    """Number of tokens of every run, when the shapes of the inputs leave no other; `None` when it is free."""
    given = [port for port in inputs_of(ports) if _role(port) != "mask" and len(port.shape) > 1]
    if not given or _symbols(given):
        return None
    return int(given[0].shape[1])


def fixed_past(ports: Iterable[Port]) -> int | None:
    """Length of the cache before every run, when the shapes of its inputs leave no other; `None` when it is free."""
    ports = tuple(ports)
    for past in (port for port in ports if port.kind == "past" and not _symbols([port])):
        axis = _position_axis(past, ports)
        if axis is not None:
            return int(past.shape[axis])
    return None


def _position_axis(port: Port, ports: Iterable[Port]) -> int | None:
    """Axis that runs over tokens or positions: a symbolic one, else that in which a cache grows, else axis 1."""
    symbolic = [axis for axis, dim in enumerate(port.shape) if isinstance(dim, str)]
    if symbolic:
        return symbolic[0]
    if port.kind in ("past", "present"):
        shapes = [each.shape for each in ports if each.kind in ("past", "present") and each.symbol == port.symbol]
        grown = [axis for axis, dims in enumerate(zip(*shapes, strict=True)) if len(set(dims)) > 1]
        return grown[0] if grown else None
    return 1 if len(port.shape) > 1 and port.shape[1] == fixed_tokens(ports) else None


def symbols_of(ports: Iterable[Port], step: Step) -> dict[str, int]:
    """Numbers for the symbols in the shapes of the input ports.

    A symbol of a mask that no other input has is the number of attended positions. Where several dimensions vary
    independently, the first in alphabetical order is the number of tokens, and each further one is larger by one.

    Raises:
        InputError: the length of the cache is not one symbol.
    """
    given = [port for port in ports if port.direction == "input"]
    past = _symbols(port for port in given if port.kind == "past")
    tokens = _symbols(port for port in given if port.kind != "past" and _role(port) != "mask") - past
    if len(past) > 1:
        listed = ", ".join(sorted(past))
        raise InputError(f"the cache lengths {listed} vary independently", help="bind all but one: --dim NAME=N")
    numbers = dict.fromkeys(past, step.past) | {name: step.tokens + more for more, name in enumerate(sorted(tokens))}
    return dict.fromkeys(_symbols(given), step.past + step.tokens) | numbers


def further_sizes(ports: Iterable[Port], step: Step) -> dict[str, int]:
    """Sizes in a step of the dimensions that vary independently of the number of tokens, by name."""
    given = [port for port in ports if port.direction == "input"]
    counted = _symbols(port for port in given if port.kind != "past" and _role(port) != "mask")
    tokens = counted - _symbols(port for port in given if port.kind == "past")
    return {name: step.tokens + more for more, name in enumerate(sorted(tokens)) if more}


def empty_past(ports: Iterable[Port]) -> dict[str, Array]:
    """Arrays of a cache that holds nothing, by input name."""
    ports = tuple(ports)
    symbols = symbols_of(ports, Step(tokens=1))
    return {
        port.name: np.zeros(shape_with(port, symbols), port.dtype)
        for port in ports
        if port.kind == "past" and port.direction == "input"
    }


def step_inputs(
    ports: Iterable[Port], step: Step, generator: np.random.Generator, vocabulary: Mapping[str, int]
) -> dict[str, Array]:
    """Seeded valid arrays for one step, by input name.

    Args:
        ports: Of the program.
        step: Number of tokens, cache length, masked positions.
        generator: Source of token numbers and real values.
        vocabulary: For inputs that index a table, the number of its rows.

    Returns:
        Arrays by input name; of the cache only where its length is fixed.
    """
    ports = tuple(ports)
    symbols = symbols_of(ports, step)
    made: dict[str, Array] = {}
    fixed = [port for port in ports if port.kind == "past" and fixed_past(ports) is not None]
    for port in (*inputs_of(ports), *fixed):
        made[port.name] = seeded_array(port, shape_with(port, symbols), step, generator, vocabulary)
    return made


def seeded_array(
    port: Port, shape: tuple[int, ...], step: Step, generator: np.random.Generator, vocabulary: Mapping[str, int]
) -> Array:
    """A seeded valid array for one input; arguments as for `step_inputs`."""
    if _role(port) == "tokens":
        return generator.integers(0, vocabulary.get(port.name, 2), shape).astype(port.dtype)
    if _role(port) == "real":
        return generator.standard_normal(shape).astype(port.dtype)
    return _determined(port, shape, step)


def with_defaults(ports: Iterable[Port], given: Mapping[str, Array]) -> dict[str, Array]:
    """The given arrays with those that may be left out: full masks, running positions, zero types, an empty cache.

    Token numbers and real values follow from nothing and stay missing.

    Args:
        ports: Of the program.
        given: Arrays by input name.
    """
    ports = tuple(ports)
    absent = [port for port in ports if port.direction == "input" and port.name not in given]
    if not absent:
        return dict(given)
    step = _given_step(ports, given)
    numbers = symbols_of(ports, step) | _given_sizes(ports, given)
    complete = dict(given)
    for port in absent:
        if port.kind == "past":
            complete[port.name] = np.zeros(shape_with(port, numbers), port.dtype)
        elif _role(port) in ("mask", "positions", "types"):
            complete[port.name] = _determined(port, shape_with(port, numbers), step)
    return complete


def _given_step(ports: Sequence[Port], given: Mapping[str, Array]) -> Step:
    """Tokens and cache length that the shapes of given arrays show; else the fixed ones, one token, an empty cache."""
    past = _symbols(port for port in ports if port.kind == "past")
    tokens = _symbols(port for port in inputs_of(ports) if _role(port) != "mask") - past
    sizes = _given_sizes(ports, given)
    return Step(
        tokens=next((size for dim, size in sizes.items() if dim in tokens), fixed_tokens(ports) or 1),
        past=next((size for dim, size in sizes.items() if dim in past), fixed_past(ports) or 0),
    )


def _given_sizes(ports: Iterable[Port], given: Mapping[str, Array]) -> dict[str, int]:
    """Sizes of the dimensions that are one symbol, as given arrays of the right rank have them."""
    return {
        dim: size
        for port in ports
        if port.direction == "input" and port.name in given and len(port.shape) == given[port.name].ndim
        for dim, size in zip(port.shape, given[port.name].shape, strict=True)
        if isinstance(dim, str) and dim.isidentifier()
    }


def attended(port: Port, ports: Iterable[Port], inputs: Mapping[str, Array], array: Array) -> Any:
    """Index of the part of an output that belongs to positions which the mask keeps; others may hold anything.

    Args:
        port: The output.
        ports: Of the program.
        inputs: Arrays of the run, by input name.
        array: The output.
    """
    ports = tuple(ports)
    masks = (inputs[given.name] for given in inputs_of(ports) if _role(given) == "mask" and given.name in inputs)
    mask = next(masks, None)
    axis = _position_axis(port, ports)
    if mask is None or mask.ndim != 2 or not axis or len(mask) != len(array):
        return ...
    sequences, positions = np.nonzero(mask[:, mask.shape[1] - array.shape[axis] :])
    return (sequences, *(slice(None),) * (axis - 1), positions)


def _determined(port: Port, shape: tuple[int, ...], step: Step) -> Array:
    """Contents of masks, positions and token types, which follow from the step."""
    role = _role(port)
    if role == "mask":
        mask = np.ones(shape, port.dtype)
        mask[..., slice(*step.masked)] = 0
        return mask
    if role == "positions":
        return np.broadcast_to(np.arange(step.past, step.past + shape[-1]), shape).astype(port.dtype)
    return np.zeros(shape, port.dtype)


def _role(port: Port) -> str:
    """What an input means, from its name and type: exporters keep the names of the transformers library."""
    name = port.name.lower()
    if "mask" in name:
        return "mask"
    if np.dtype(port.dtype).kind == "f":
        return "real"
    if "position" in name:
        return "positions"
    return "types" if "type" in name or "segment" in name else "tokens"


def _symbols(ports: Iterable[Port]) -> set[str]:
    shapes = (parse_dim(dim) for port in ports for dim in port.shape if isinstance(dim, str))
    return {name for dim in shapes if isinstance(dim, Affine) for name in dim.symbols}


def shape_with(port: Port, symbols: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of a port when its symbols have these sizes; raises `InputError` when one has none."""
    return tuple(dim if isinstance(dim, int) else _size(bind(parse_dim(dim), symbols), port) for dim in port.shape)


def _size(dim: Dim, port: Port) -> int:
    if isinstance(dim, Affine):
        missing = ", ".join(sorted(dim.symbols))
        raise InputError(f"the dimension {missing} of '{port.name}' is not bound", help=f"give --dim {missing}=N")
    return dim


def first_dimensions(model: str | Path, arrays: Mapping[str, Array]) -> dict[str, int]:
    """Sizes of the named first axes of a model's inputs, as the given arrays have them.

    Raises:
        InputError: the model cannot be read, or an array is none of its inputs or has another rank.
    """
    from pimc.frontend import load_model

    inputs = {value.name: value.type.tensor_type.shape.dim for value in load_model(model).proto.graph.input}
    found: dict[str, int] = {}
    for name, array in arrays.items():
        if name not in inputs:
            raise InputError(f"the model has no input '{name}'", notes=[f"its inputs: {', '.join(inputs)}"])
        if array.ndim != len(inputs[name]):
            raise InputError(f"input '{name}' has {array.ndim} axes, the model expects {len(inputs[name])}")
        if array.ndim > 1 and inputs[name][0].dim_param:
            found[inputs[name][0].dim_param] = array.shape[0]
    return found


def table_rows(graph: Graph) -> dict[str, int]:
    """For integer inputs that index constant tables: the number of rows of the smallest one, by input name."""
    rows: dict[str, int] = {}
    for node in graph.nodes:
        if node.op != "gather" or not node.operand(0).is_constant or node.attributes["axis"] != 0:
            continue
        for value in _sources(node.operand(1)):
            height = int(str(node.operand(0).shape[0]))
            rows[value.name] = min(rows.get(value.name, height), height)
    return rows


_KEEPS_NUMBERS = frozenset({"cast", "reshape", "expand", "identity", "transpose", "slice", "concat", "split"})
"""Operations behind which an input's numbers stand unchanged."""


def _sources(value: Value) -> list[Value]:
    """The integer graph inputs whose numbers a value holds."""
    inputs: list[Value] = []
    waiting, seen = [value], {value}
    while waiting:
        current = waiting.pop()
        if current.producer is None:
            inputs += [current] if not current.is_constant and current.type.dtype.startswith("int") else []
            continue
        if current.producer.op not in _KEEPS_NUMBERS:
            continue
        fresh = [each for each in current.producer.inputs if each is not None and each not in seen]
        seen.update(fresh)
        waiting += fresh
    return inputs
