"""Evaluation of graphs with numpy: the reference meaning that every rewrite must keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from isa import GraphError, InputError, PimcError, Place
from passes.dims import Affine, bind
from passes.interpreter.attention import FUSED_MEANINGS, attend
from passes.interpreter.compression import CompressedCache, Rounding, Scoring, attend_compressed
from passes.interpreter.operations import MEANINGS, Array
from passes.interpreter.symbols import Caches, bind_symbols
from passes.ir import Attribute, Cache, Graph, Node, Value

_ALL_MEANINGS = {**MEANINGS, **FUSED_MEANINGS}


def interpret(
    graph: Graph,
    inputs: Mapping[str, Array],
    symbols: Mapping[str, int] | None = None,
    caches: Caches | None = None,
    wanted: Sequence[Value] | None = None,
    stored: Rounding = lambda x: x,
) -> dict[str, Array]:
    """Run a graph.

    float32 is computed as numpy float32; float16 and bfloat16 are computed in float32 and rounded after every node.

    Args:
        graph: Any graph whose operations stand in `passes.ops`.
        inputs: Arrays by ONNX input name. Past keys and values of the graph's caches may be among them: they replace
            what the cache holds.
        symbols: Numbers for symbols that the shapes of the inputs do not determine.
        caches: State of the resident caches; `cached_attention` appends to it. An absent cache starts empty; a cache
            without a past input is empty before each run.
        wanted: Values to compute instead of the graph outputs; nothing that they do not need is computed.
        stored: What storing keys and values in a compressed cache does to their elements, in binary32.

    Returns:
        Graph outputs by ONNX output name together with the present keys and values of the caches, or with `wanted` the
        wanted values by value name.

    Raises:
        InputError: An input is missing, unknown, or of a type or shape that the graph does not have.
        GraphError: A node cannot be evaluated.
    """
    state: Caches = {} if caches is None else caches
    _load_caches(graph, inputs, state, stored)
    numbers = bind_symbols(graph, inputs, symbols or {}, state)
    targets = list(graph.outputs.values()) if wanted is None else list(wanted)
    nodes = _needed(graph, targets)
    values = _input_values(graph, inputs, nodes, targets)
    _run(graph, nodes, values, numbers, state, targets)
    if wanted is not None:
        return {value.name: values[value] for value in targets}
    results = {name: values[value] for name, value in graph.outputs.items()}
    for cache in graph.caches.values():
        results.update(_present(cache, state))
    return results


def evaluate(
    graph: Graph,
    targets: Sequence[Value],
    symbols: Mapping[str, int],
    inputs: Mapping[str, Array] | None = None,
) -> list[Array]:
    """Compute some values of a graph at given lengths, and nothing that they do not need.

    Args:
        graph: The graph that holds the values.
        targets: Values to compute.
        symbols: Numbers of all symbols that the needed nodes mention.
        inputs: Arrays by name for the graph inputs that the targets depend on; others are not looked at.

    Raises:
        GraphError: A needed input or symbol is missing, or a node cannot be evaluated.
    """
    nodes = _needed(graph, targets)
    values: dict[Value, Array] = {}
    for value in _sources(nodes, targets):
        if inputs is None or value.name not in inputs:
            raise GraphError(f"'{value.name}' must be given to evaluate {', '.join(t.name for t in targets)}")
        values[value] = np.asarray(inputs[value.name])
    _run(graph, nodes, values, dict(symbols), {}, targets)
    return [values[target] for target in targets]


def apply_operation(op: str, operands: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """Results of one operation on arrays; attributes must be numbers.

    Args:
        op: Any operation of `passes.OPS` but `cached_attention`.
        operands: Arrays, `None` where an optional operand is absent.
        attributes: Attributes of the operation.
    """
    with np.errstate(all="ignore"):
        results = _ALL_MEANINGS[op](*operands, **attributes)
    return results if isinstance(results, tuple) else (results,)


def _load_caches(graph: Graph, inputs: Mapping[str, Array], state: Caches, stored: Rounding) -> None:
    for cache in graph.caches.values():
        key, value = cache.past_key, cache.past_value
        if key is None:
            state.pop(cache.name, None)
        given = None
        if key is not None and value is not None and key in inputs and value in inputs:
            given = (np.asarray(inputs[key]), np.asarray(inputs[value]))
        if cache.compression is not None:
            _load_compressed(cache, given, state, stored)
        elif given is not None:
            state[cache.name] = given


def _load_compressed(cache: Cache, given: tuple[Array, Array] | None, state: Caches, stored: Rounding) -> None:
    """Empty a compressed cache when an empty past is given, or when it is new."""
    if given is not None and given[0].shape[2]:
        raise InputError(
            f"'{cache.past_key}' brings {given[0].shape[2]} tokens, but a compressed cache takes them one by one",
            help="begin with an empty cache and give the tokens",
        )
    if given is not None or not isinstance(state.get(cache.name), CompressedCache):
        state[cache.name] = CompressedCache(cache, stored)


def _present(cache: Cache, state: Caches) -> dict[str, Array]:
    if cache.name not in state:
        return {}
    names = (cache.present_key, cache.present_value)
    held = state[cache.name]
    if isinstance(held, CompressedCache) and not held.sequences:
        return {}
    arrays = held.present() if isinstance(held, CompressedCache) else held
    return {name: array for name, array in zip(names, arrays, strict=True) if name}


def _needed(graph: Graph, targets: Iterable[Value]) -> list[Node]:
    """The ancestors of the targets in evaluation order."""
    wanted: set[Node] = set()
    stack = [value.producer for value in targets if value.producer is not None]
    while stack:
        node = stack.pop()
        if node not in wanted:
            wanted.add(node)
            stack += [v.producer for v in node.inputs if v is not None and v.producer is not None]
    return [node for node in graph.nodes if node in wanted]


def _sources(nodes: Iterable[Node], targets: Iterable[Value]) -> list[Value]:
    """Graph inputs that the nodes and targets read."""
    read = [value for node in nodes for value in node.inputs if value is not None]
    return [v for v in dict.fromkeys([*read, *targets]) if v.producer is None and not v.is_constant]


def _input_values(
    graph: Graph, inputs: Mapping[str, Array], nodes: list[Node], targets: list[Value]
) -> dict[Value, Array]:
    values: dict[Value, Array] = {}
    for value in _sources(nodes, targets):
        if value.name not in inputs:
            raise InputError(f"the input '{value.name}' is missing", notes=[f"it has type {value.type}"])
        array = np.asarray(inputs[value.name])
        if array.dtype.name != value.type.dtype:
            raise InputError(f"the input '{value.name}' has dtype {array.dtype.name}, but must have {value.type.dtype}")
        values[value] = array
    return values


def _run(
    graph: Graph,
    nodes: list[Node],
    values: dict[Value, Array],
    numbers: Mapping[str, int],
    state: Caches,
    targets: Sequence[Value],
) -> None:
    """Evaluate the nodes into `values`; arrays are dropped after their last use unless they are targets."""
    for target in targets:
        if target.constant is not None:
            values[target] = np.asarray(target.constant)
    last_use = {value: node for node in nodes for value in node.inputs if value is not None}
    kept = set(targets)
    for node in nodes:
        operands = [None if v is None else _operand(v, values) for v in node.inputs]
        results = _evaluate_node(graph, node, operands, numbers, state)
        for value, result in zip(node.outputs, results, strict=False):
            values[value] = _checked(node, value, result, numbers)
        for used in node.inputs:
            if used is not None and last_use[used] is node and used not in kept:
                values.pop(used, None)


def _operand(value: Value, values: Mapping[Value, Array]) -> Array:
    return np.asarray(value.constant) if value.constant is not None else values[value]


def _evaluate_node(
    graph: Graph, node: Node, operands: list[Array | None], numbers: Mapping[str, int], state: Caches
) -> tuple[Array, ...]:
    attributes = {name: _bound(attribute, numbers) for name, attribute in node.attributes.items()}
    try:
        if node.op == "cached_attention":
            return _cached_attention(graph, operands, attributes, state)
        return apply_operation(node.op, operands, attributes)
    except PimcError as problem:
        raise GraphError(problem.message, _place(node), problem.notes, problem.help) from None
    except (ValueError, IndexError, TypeError) as problem:
        shapes = [None if operand is None else list(operand.shape) for operand in operands]
        notes = [f"operand shapes: {shapes}"]
        raise GraphError(f"cannot evaluate {node!r}: {problem}", _place(node), notes) from problem


def _cached_attention(
    graph: Graph, operands: list[Array | None], attributes: dict[str, Any], state: Caches
) -> tuple[Array, ...]:
    cache = graph.caches[attributes.pop("cache")]
    query, key, value, mask, bias = [*operands, None, None, None, None][:5]
    if query is None:
        raise GraphError("the query must be present")
    held = state.get(cache.name)
    if isinstance(held, CompressedCache):
        scoring = Scoring(attributes["scale"], attributes["softcap"], mask, bias)
        return (attend_compressed(held, query, key, value, attributes["heads"], scoring),)
    batch = query.shape[0]
    empty = (
        np.zeros((batch, cache.kv_heads, 0, cache.head_dim), query.dtype if key is None else key.dtype),
        np.zeros((batch, cache.kv_heads, 0, cache.value_dim), query.dtype if value is None else value.dtype),
    )
    past_key, past_value = empty if held is None else held
    with np.errstate(all="ignore"):
        result, keys, values = attend(query, key, value, past_key, past_value, mask, bias, **attributes)
    state[cache.name] = (keys, values)
    return (result,)


def _bound(attribute: Attribute, numbers: Mapping[str, int]) -> Attribute:
    if isinstance(attribute, Affine):
        dim = bind(attribute, numbers)
        if isinstance(dim, Affine):
            raise GraphError(f"the dimension '{attribute}' is not bound", notes=[f"unbound: {sorted(dim.symbols)}"])
        return dim
    if isinstance(attribute, tuple):
        parts: tuple[Attribute, ...] = attribute
        return tuple(_bound(part, numbers) for part in parts)
    return attribute


def _checked(node: Node, value: Value, result: Array, numbers: Mapping[str, int]) -> Array:
    """The result in the value's dtype; its shape must be the one that the value's type says."""
    said = [bind(dim, numbers) for dim in value.shape]
    if len(said) != result.ndim or any(isinstance(d, int) and d != s for d, s in zip(said, result.shape, strict=True)):
        raise GraphError(
            f"{node!r} gives shape {list(result.shape)}, but its result '{value.name}' is {value.type}",
            _place(node),
            notes=[f"{name} = {number}" for name, number in sorted(numbers.items())],
        )
    return result.astype(value.type.dtype, copy=False)


def _place(node: Node) -> Place:
    return Place(node=node.origins[0] if node.origins else node.name)
