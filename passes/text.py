"""The text form of graphs: what `--print-after` shows and tests compare.

```
graph "tiny" {
  input %x: float32[1, seq, 4]
  constant %w: float32[4, 8] = sha256 "5b1f..."
  constant %half: float32[] = [0.5]
  %y: float32[1, seq, 8] = linear(%x, %w) @fc ; from /fc/MatMul, /fc/Add
  %mul:0: float32[1, seq, 8] = mul(%y, %half) ; from /Mul
  output "result" = %mul:0
}
```
A cache names the mechanisms that compress it: `retention = Ring {budget = 512, sinks = 4}`. `@name` is the node's name;
it is left out where the results are named after the node. `_` is an absent operand.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from passes.dims import Affine
from passes.interpreter.operations import Array
from passes.ir import Attribute, Cache, Graph, Node, Value
from passes.ops import OPS
from passes.text_parser import constant_digest, parse_graph

__all__ = ["INLINE_ELEMENTS", "constant_digest", "large_constants", "parse_graph", "print_graph"]

INLINE_ELEMENTS = 16
"""Constants of up to so many elements are written out; of larger ones the text holds a hash."""
_BARE_NAME = re.compile(r"[\w./:$-]*[\w./$-]")


def print_graph(graph: Graph) -> str:
    """The graph as text that `parse_graph` reads back; nodes in topological order, names as they are."""
    return "\n".join([f"graph {json.dumps(graph.name)} {{", *(f"  {line}" for line in _lines(graph)), "}", ""])


def large_constants(graph: Graph) -> dict[str, Array]:
    """Constants that the text only names, by name: what `parse_graph` needs besides the text."""
    constants = {value.name: value.constant for value in graph.values() if value.constant is not None}
    return {name: array for name, array in constants.items() if array.size > INLINE_ELEMENTS}


def _lines(graph: Graph) -> Iterator[str]:
    yield from (f"input {_declaration(value)}" for value in graph.inputs)
    yield from (_cache(cache) for cache in graph.caches.values())
    yield from (f"signature {json.dumps(name)}: {kind}" for name, kind in graph.signature.items())
    yield from (_constant(value, value.constant) for value in graph.values() if value.constant is not None)
    yield from (_node(node) for node in graph.nodes)
    yield from (f"output {json.dumps(name)} = {_reference(value)}" for name, value in graph.outputs.items())


def _name(name: str) -> str:
    return name if _BARE_NAME.fullmatch(name) and name.isascii() else json.dumps(name)


def _reference(value: Value) -> str:
    return f"%{_name(value.name)}"


def _declaration(value: Value) -> str:
    return f"{_reference(value)}: {value.type}"


def _cache(cache: Cache) -> str:
    fields = ("kv_heads", "head_dim", "value_dim", "past_key", "past_value", "present_key", "present_value")
    pairs = [(field, getattr(cache, field)) for field in fields]
    if cache.compression is not None:
        pairs += [(slot, part) for slot, part in _fields(cache.compression) if part is not None]
    return f"cache {json.dumps(cache.name)} {{{_assignments(pairs)}}}"


def _fields(record: Any) -> list[tuple[str, Attribute]]:
    return [(field.name, getattr(record, field.name)) for field in dataclasses.fields(record)]


def _assignments(pairs: Iterable[tuple[str, Attribute]]) -> str:
    return ", ".join(f"{name} = {_attribute(value)}" for name, value in pairs)


def _constant(value: Value, array: Array) -> str:
    if array.size > INLINE_ELEMENTS:
        return f'constant {_declaration(value)} = sha256 "{constant_digest(array)}"'
    return f"constant {_declaration(value)} = [{', '.join(_element(element) for element in array.reshape(-1))}]"


def _element(element: np.generic) -> str:
    """The shortest decimal that gives the same element again."""
    if element.dtype.kind == "b":
        return "true" if element else "false"
    if element.dtype.kind in "iu":
        return str(int(element))
    wide = np.float32(element) if element.dtype.itemsize < 4 else element
    text = str(wide)
    return text if re.search(r"[.en]", text) else f"{text}.0"


def _node(node: Node) -> str:
    results = ", ".join(_declaration(value) for value in node.outputs)
    operands = ", ".join("_" if value is None else _reference(value) for value in node.inputs)
    line = f"{results} = {node.op}({operands})"
    if node.attributes:
        order = OPS[node.op].attributes if node.op in OPS else tuple(node.attributes)
        names = sorted(node.attributes, key=lambda name: (order.index(name) if name in order else len(order), name))
        line += f" {{{', '.join(f'{name} = {_attribute(node.attributes[name])}' for name in names)}}}"
    if [value.name for value in node.outputs] != [f"{node.name}:{index}" for index in range(len(node.outputs))]:
        line += f" @{_name(node.name)}"
    return line + (f" ; from {', '.join(_name(origin) for origin in node.origins)}" if node.origins else "")


def _attribute(value: Attribute) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, Affine)):
        return str(value)
    if isinstance(value, tuple):
        parts: tuple[Attribute, ...] = value
        return f"[{', '.join(map(_attribute, parts))}]"
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__} {{{_assignments(_fields(value))}}}"
    return json.dumps(value)
