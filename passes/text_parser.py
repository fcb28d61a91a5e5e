"""Reading of the text form of graphs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from isa import InputError, Place
from passes.dims import Dim, symbol
from passes.interpreter.operations import Array
from passes.ir import Attribute, Cache, Graph, TensorType, Value
from passes.kv_policies import MECHANISMS, Compression, Encoding, Retention, Selection
from passes.ops import FLOAT_DTYPES, INTEGER_DTYPES

if TYPE_CHECKING:
    from lark import Lark, Token, Tree
    from lark.exceptions import UnexpectedInput

_SLOTS: dict[str, tuple[type, ...]] = {
    "retention": get_args(Retention),
    "encoding": get_args(Encoding),
    "selection": get_args(Selection),
}
"""Mechanisms that the parts of a compression can be."""

Branch = Any
"""A token or a tree of the parser."""


def parse_graph(text: str, constants: Mapping[str, Array] | None = None, file: str | None = None) -> Graph:
    """Read the text form of a graph.

    Args:
        text: What `print_graph` wrote.
        constants: Arrays by name for the constants of which the text only holds a hash.
        file: Name for messages.

    Raises:
        InputError: The text is not a graph, or a constant is missing or another one.
    """
    from lark.exceptions import UnexpectedInput

    try:
        tree = _parser().parse(text)
    except UnexpectedInput as problem:
        lines = text.split("\n")
        line, column = (problem.line, problem.column) if problem.line > 0 else (len(lines), len(lines[-1]) + 1)
        place = Place(file, line, column, None, lines[line - 1])
        raise InputError("this is not the text of a graph", place, [_expected(problem)]) from None
    return _Reader(text, constants or {}, file).graph(tree)


def constant_digest(array: Array) -> str:
    """SHA-256 of the elements in order, as stored."""
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


_EXPECTED_KEYS = ("accepts", "expected", "allowed")


def _expected(problem: UnexpectedInput) -> str:
    """What could have stood at the place of the error."""
    candidates: list[set[str] | None] = [getattr(problem, key, None) for key in _EXPECTED_KEYS]
    names: set[str] = next(filter(None, candidates), set())
    patterns = {terminal.name: terminal.pattern for terminal in _parser().terminals}
    words = [
        f"'{patterns[name].value}'" if patterns[name].type == "str" else name.lower().replace("_", " ")
        for name in sorted(names)
        if name in patterns
    ]
    return f"expected {' or '.join(sorted(words))}" if words else "expected nothing more"


@cache
def _parser() -> Lark:
    from lark import Lark

    grammar = Path(__file__).with_name("text.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=True)


class _Reader:
    """The graph under construction, with its values by name."""

    def __init__(self, text: str, constants: Mapping[str, Array], file: str | None) -> None:
        self._lines = text.split("\n")
        self._constants = constants
        self._file = file
        self._values: dict[str, Value] = {}
        self._graph = Graph("")

    def graph(self, tree: Tree[Token]) -> Graph:
        name, *statements = tree.children
        self._graph = Graph(json.loads(str(name)))
        readers = {
            "input": self._input,
            "cache": self._cache,
            "constant": self._constant,
            "node": self._node,
            "output": self._output,
            "signature": self._signature,
        }
        for statement in statements:
            readers[statement.data](statement.children)  # type: ignore[union-attr]
        return self._graph

    def _input(self, children: list[Branch]) -> None:
        name, kind, _ = self._declared(children[0])
        self._values[name] = self._graph.add_input(name, kind)

    def _cache(self, children: list[Branch]) -> None:
        name, fields = json.loads(children[0]), _attributes(children[1])
        slots = {slot: fields.pop(slot) for slot in _SLOTS if slot in fields}
        if list(fields) != [field.name for field in dataclasses.fields(Cache)][1:-1]:
            raise self._error(f"the fields of the cache '{name}' are not those of a cache", children[0])
        for slot, part in slots.items():
            if not isinstance(part, _SLOTS[slot]):
                raise self._error(f"'{slot}' of the cache '{name}' is not a mechanism for it", children[0])
        self._graph.caches[name] = Cache(name, **fields, compression=Compression(**slots) if slots else None)

    def _signature(self, children: list[Branch]) -> None:
        self._graph.signature[json.loads(children[0])] = _type(children[1])

    def _constant(self, children: list[Branch]) -> None:
        name, kind, token = self._declared(children[0])
        dims = [dim for dim in kind.shape if isinstance(dim, int)]
        if len(dims) < kind.rank:
            raise self._error("a constant cannot have symbolic dimensions", token)
        if children[1].data == "digest":
            array = self._external(name, json.loads(children[1].children[0]), token)
        else:
            array = self._inline(children[1], kind.dtype, token)
        if array.size != np.prod(dims, dtype=np.int64) or array.dtype.name != kind.dtype:
            raise self._error(f"'{name}' is said to be {kind}, but has {array.size} elements of {array.dtype}", token)
        self._values[name] = self._graph.add_constant(array.reshape(dims), name)

    def _inline(self, tree: Branch, dtype: str, token: Token) -> Array:
        elements = [_attribute(child) for child in tree.children if child is not None]
        wrong = [element for element in elements if isinstance(element, bool) != (dtype == "bool")]
        if wrong or (dtype in INTEGER_DTYPES and any(isinstance(element, float) for element in elements)):
            raise self._error(f"the elements of the constant are not {dtype}", token)
        try:
            return np.array(elements, np.object_).astype("float64" if dtype in FLOAT_DTYPES else dtype).astype(dtype)
        except OverflowError:
            raise self._error(f"an element of the constant does not fit into {dtype}", token) from None

    def _external(self, name: str, digest: str, token: Token) -> Array:
        if name not in self._constants:
            raise self._error(f"the contents of the constant '{name}' are not given", token)
        array = self._constants[name]
        if constant_digest(array) != digest:
            raise self._error(f"the given constant '{name}' is another one than the text's", token)
        return array

    def _node(self, children: list[Branch]) -> None:
        declarations = [child for child in children if getattr(child, "data", None) == "declaration"]
        results = [self._declared(child) for child in declarations]
        op, *operands, attributes, node_name, origins = children[len(declarations) :]
        default = results[0][0].removesuffix(":0")
        node = self._graph.add_node(
            str(op),
            [self._operand(operand) for operand in operands if operand is not None],
            [kind for _, kind, _ in results],
            {} if attributes is None else _attributes(attributes),
            name=default if node_name is None else _unquoted(node_name[1:]),
            origins=() if origins is None else [_unquoted(origin) for origin in origins.children],
            output_names=[name for name, _, _ in results],
        )
        for (name, _, token), value in zip(results, node.outputs, strict=True):
            if value.name != name:
                raise self._error(f"the name '{name}' is taken already", token)
            self._values[name] = value

    def _operand(self, operand: Branch) -> Value | None:
        return None if operand.data == "absent" else self._value(operand.children[0])

    def _output(self, children: list[Branch]) -> None:
        self._graph.outputs[json.loads(children[0])] = self._value(children[1])

    def _value(self, token: Token) -> Value:
        name = _unquoted(token[1:])
        if name not in self._values:
            raise self._error(f"there is no value '{name}' above", token)
        return self._values[name]

    def _declared(self, declaration: Branch) -> tuple[str, TensorType, Token]:
        """Name and type of a new value, and its token for messages."""
        token, kind = declaration.children
        name = _unquoted(token[1:])
        if name in self._values:
            raise self._error(f"the value '{name}' exists already", token)
        if str(kind.children[0]) not in (*FLOAT_DTYPES, *INTEGER_DTYPES, "bool"):
            raise self._error(f"there is no element type '{kind.children[0]}'", kind.children[0])
        return name, _type(kind), token

    def _error(self, message: str, token: Token) -> InputError:
        line = token.line or 0
        return InputError(message, Place(self._file, line, token.column or 0, None, self._lines[line - 1]))


def _unquoted(name: str) -> str:
    return str(json.loads(name)) if name.startswith('"') else str(name)


def _type(tree: Branch) -> TensorType:
    dtype, *dims = tree.children
    return TensorType(str(dtype), tuple(_dim(dim) for dim in dims if dim is not None))


def _dim(tree: Branch) -> Dim:
    total: Dim = 0
    sign = 1
    for child in tree.children:
        if hasattr(child, "data"):
            total = total + _term(child.children) * sign
        else:
            sign = 1 if child == "+" else -1
    return total


def _term(children: list[Branch]) -> Dim:
    first, *rest = children
    if first.type == "IDENTIFIER":
        return symbol(str(first))
    return int(first) if not rest or rest[0] is None else symbol(str(rest[0])) * int(first)


def _attributes(tree: Branch) -> dict[str, Attribute]:
    pairs = [child.children for child in tree.children if child is not None]
    return {str(name): _attribute(value) for name, value in pairs}


def _attribute(tree: Branch) -> Attribute:
    if tree.data == "tuple":
        return tuple(_attribute(child) for child in tree.children if child is not None)
    if tree.data == "dim":
        return _dim(tree)
    if tree.data == "mechanism":
        return _mechanism(str(tree.children[0]), _attributes(tree.children[1]))
    if tree.data in ("true", "false", "absent"):
        return {"true": True, "false": False, "absent": None}[str(tree.data)]
    (token,) = tree.children
    if tree.data == "string":
        return json.loads(token)
    return float(token) if tree.data == "float" else int(token)


def _mechanism(name: str, fields: dict[str, Attribute]) -> Attribute:
    """The mechanism of a compression, `None` when there is none of that name with those fields."""
    kind = MECHANISMS.get(name)
    if kind is None or list(fields) != [field.name for field in dataclasses.fields(kind)]:
        return None
    return kind(**fields)
