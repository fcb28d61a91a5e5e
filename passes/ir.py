"""The dataflow graph: typed values with def-use lists, nodes, resident KV caches."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isa import GraphError
from passes.dims import Affine, Dim
from passes.kv_policies.mechanisms import Compression

if TYPE_CHECKING:
    import networkx

Attribute = Any
"""int, float, str, bool, `Dim`, or a tuple of these."""


@dataclass(frozen=True)
class TensorType:
    """Element type and shape of a value.

    Attributes:
        dtype: numpy dtype name: `float32`, `float16`, `bfloat16`, `int64`, `int32`, `int8`, `uint8`, `bool`.
        shape: Integers, or affine expressions in the graph's symbols.
    """

    dtype: str
    shape: tuple[Dim, ...]

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def symbols(self) -> frozenset[str]:
        """Symbols that the shape mentions."""
        return frozenset(name for dim in self.shape if isinstance(dim, Affine) for name in dim.symbols)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(str(dim) for dim in self.shape)}]"


@dataclass(eq=False)
class Value:
    """A tensor in the graph: graph input, constant, or result of a node.

    Attributes:
        name: Unique in the graph.
        type: Element type and shape.
        producer: Node that computes it; `None` for inputs and constants.
        constant: Contents when the value is a constant (may be a read-only memory map).
        uses: (node, input position) of every use, in order of insertion; the graph keeps it.
    """

    name: str
    type: TensorType
    producer: Node | None = None
    constant: NDArray[Any] | None = None
    uses: dict[tuple[Node, int], None] = field(default_factory=dict["tuple[Node, int]", None])

    @property
    def is_constant(self) -> bool:
        """Whether the contents are known at compile time."""
        return self.constant is not None

    @property
    def users(self) -> list[Node]:
        """Nodes that use the value, each once, in order of insertion."""
        return list(dict.fromkeys(node for node, _ in self.uses))

    @property
    def shape(self) -> tuple[Dim, ...]:
        """Shape of the type."""
        return self.type.shape

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type}"


@dataclass(eq=False)
class Node:
    """One operation. Which operations there are, with their attributes, stands in `passes.ops`.

    Attributes:
        op: Name of the operation.
        inputs: Operands; `None` where an optional one is absent. Change them through the graph only.
        outputs: Results.
        attributes: Values of the operation's attributes.
        name: Unique in the graph.
        origins: Names of the ONNX nodes that this node came from.
    """

    op: str
    inputs: list[Value | None]
    outputs: list[Value]
    attributes: dict[str, Attribute]
    name: str
    origins: tuple[str, ...] = ()

    @property
    def output(self) -> Value:
        """The first result."""
        return self.outputs[0]

    def operand(self, index: int) -> Value:
        """Operand `index`, which must be present."""
        value = self.inputs[index]
        if value is None:
            raise GraphError(f"operand {index} of {self.op} '{self.name}' is absent")
        return value

    def optional(self, index: int) -> Value | None:
        """Operand `index`, `None` when it is absent or left out at the end."""
        return self.inputs[index] if index < len(self.inputs) else None

    def __repr__(self) -> str:
        return f"{self.op} '{self.name}'"


@dataclass(frozen=True)
class Cache:
    """Keys and values of one attention block that stay in the machine from token to token.

    Attributes:
        name: Unique in the graph, used by the attribute `cache` of `cached_attention`.
        kv_heads: Number of key/value heads.
        head_dim: Elements of a key head.
        value_dim: Elements of a value head.
        past_key: Name of the model input that initialises the keys, `None` when there is none.
        past_value: The same for the values.
        present_key: Name of the model output that returns the keys, `None` when there is none.
        present_value: The same for the values.
        compression: What the cache leaves out or rounds, `None` when it keeps everything.
    """

    name: str
    kv_heads: int
    head_dim: int
    value_dim: int
    past_key: str | None = None
    past_value: str | None = None
    present_key: str | None = None
    present_value: str | None = None
    compression: Compression | None = None

    @property
    def is_compressed(self) -> bool:
        """Whether it leaves out or rounds anything."""
        return self.compression not in (None, Compression())

    @property
    def shared_name(self) -> str:
        """What its past inputs and present outputs have in common, by which graphs of a program share it; or empty."""
        return cache_stem(self.past_key or self.present_key or "")


def cache_stem(name: str) -> str:
    """The name of a past input or present output without what tells past from present: `0.decoder.key`."""
    return re.sub(r"^(past_key_values|past|present)[._/]?", "", name)


class Graph:
    """A directed acyclic graph of nodes over named values.

    Attributes:
        name: Name of the model.
        inputs: Values that the host gives.
        outputs: Values that the host gets, by ONNX output name (a value may serve several names).
        caches: Resident KV caches, by name.
        signature: Types of all inputs and outputs of the imported model by name, also of those that became caches.
        facts: Results of analyses that later passes and the backend read, by the name of the pass that wrote them.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: list[Value] = []
        self.outputs: dict[str, Value] = {}
        self.caches: dict[str, Cache] = {}
        self.signature: dict[str, TensorType] = {}
        self.facts: dict[str, Any] = {}
        self._nodes: dict[Node, None] = {}
        self._names: dict[str, int] = {}  # the number of the next name from the same wish

    @property
    def nodes(self) -> list[Node]:
        """All nodes, operands before users; among independent nodes the older first."""
        return _topological(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: Node) -> bool:
        return node in self._nodes

    def fresh_name(self, wish: str) -> str:
        """A name not yet used, equal to `wish` if possible; it is reserved from now on."""
        name, number = wish, self._names.get(wish, 1)
        while name in self._names:
            name, number = f"{wish}.{number}", number + 1
        self._names[wish] = number
        self._names.setdefault(name, 1)
        return name

    def add_input(self, name: str, type: TensorType) -> Value:
        """Append a graph input."""
        value = Value(self.fresh_name(name), type)
        self.inputs.append(value)
        return value

    def add_constant(self, array: NDArray[Any], name: str = "constant", dtype: str | None = None) -> Value:
        """A constant value; `dtype` defaults to the array's."""
        kind = TensorType(dtype or array.dtype.name, tuple(int(size) for size in array.shape))
        return Value(self.fresh_name(name), kind, constant=array)

    def add_node(
        self,
        op: str,
        inputs: Sequence[Value | None],
        types: Sequence[TensorType],
        attributes: Mapping[str, Attribute] | None = None,
        name: str | None = None,
        origins: Iterable[str] = (),
        output_names: Sequence[str] | None = None,
    ) -> Node:
        """Append a node with one result for each of `types`; uses of the operands are recorded."""
        node = Node(op, list(inputs), [], dict(attributes or {}), self.fresh_name(name or op), tuple(origins))
        wishes = output_names or [node.name + (f":{i}" if i else ":0") for i in range(len(types))]
        node.outputs = [Value(self.fresh_name(w), t, producer=node) for w, t in zip(wishes, types, strict=True)]
        for position, value in enumerate(node.inputs):
            if value is not None:
                value.uses[node, position] = None
        self._nodes[node] = None
        return node

    def set_input(self, node: Node, position: int, value: Value | None) -> None:
        """Replace one operand of a node."""
        old = node.inputs[position]
        if old is not None:
            del old.uses[node, position]
        node.inputs[position] = value
        if value is not None:
            value.uses[node, position] = None

    def replace_uses(self, old: Value, new: Value) -> None:
        """Let every user of `old`, and every graph output that it is, take `new`."""
        for node, position in list(old.uses):
            self.set_input(node, position, new)
        for name, value in self.outputs.items():
            if value is old:
                self.outputs[name] = new

    def remove(self, node: Node) -> None:
        """Remove a node whose results nobody uses."""
        for value in node.outputs:
            if value.uses or self.is_output(value):
                raise GraphError(f"cannot remove {node!r}: its result '{value.name}' is used")
        for position in range(len(node.inputs)):
            self.set_input(node, position, None)
        del self._nodes[node]

    def is_output(self, value: Value) -> bool:
        """Whether the value is a graph output."""
        return value in self.outputs.values()

    def values(self) -> Iterator[Value]:
        """Every value once: inputs, then constants and results in topological order."""
        seen: dict[Value, None] = dict.fromkeys(self.inputs)
        for node in self.nodes:
            for value in (*node.inputs, *node.outputs):
                if value is not None:
                    seen.setdefault(value)
        for value in self.outputs.values():
            seen.setdefault(value)
        yield from seen

    def symbols(self) -> frozenset[str]:
        """Symbols of the dynamic dimensions of the signature."""
        return frozenset(name for kind in self.signature.values() for name in kind.symbols)

    def to_networkx(self) -> networkx.DiGraph[Node]:
        """Nodes as vertices, an edge from producer to user for each value between them (for analyses and drawing)."""
        import networkx as nx

        view: networkx.DiGraph[Node] = nx.DiGraph(name=self.name)
        view.add_nodes_from(self.nodes)
        for node in self._nodes:
            for value in node.inputs:
                if value is not None and value.producer is not None:
                    view.add_edge(value.producer, node, value=value.name)
        return view


def _topological(nodes: Mapping[Node, None]) -> list[Node]:
    waiting = {node: len({v.producer for v in node.inputs if v is not None and v.producer in nodes}) for node in nodes}
    rank = {node: position for position, node in enumerate(nodes)}
    ready = [(rank[node], node.name, node) for node, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    order: list[Node] = []
    while ready:
        node = heapq.heappop(ready)[2]
        order.append(node)
        for user in dict.fromkeys(user for value in node.outputs for user in value.users):
            waiting[user] -= 1
            if waiting[user] == 0:
                heapq.heappush(ready, (rank[user], user.name, user))
    if len(order) != len(nodes):
        stuck = next(node for node, count in waiting.items() if count > 0)
        raise GraphError(f"the graph has a cycle through {stuck!r}")
    return order


def constant_scalar(value: Value | None) -> float | None:
    """The number that a one-element constant holds, or `None`."""
    if value is None or value.constant is None or value.constant.size != 1:
        return None
    return float(np.asarray(value.constant).reshape(-1)[0])
