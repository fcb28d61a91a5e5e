"""A graph as a program for a machine whose arrays hold its matrices: attention and linear layers of one sequence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from isa import Entry, Machine, MachineError, Program, Symbol, UnsupportedError
from passes import Graph, Node, Value
from pimc.backend.crossbar.attention import CrossbarAttention, check_attention, heads_of
from pimc.backend.crossbar.rooms import Rooms, Stored
from pimc.backend.crossbar.tokens import Row, Step, TokenLoop, emit_loops, load_matrices, product
from pimc.backend.emitter import Emitter

Schedule = Literal["rows", "layers"]
"""`rows`: a row of a product goes on to the next one at once (sub-matrix pipeline); `layers`: a product begins when all
rows of the one before are there."""

_ACTIVATIONS = ("relu", "silu", "gelu", "gelu_tanh", "tanh", "sigmoid")


@dataclass(frozen=True)
class CrossbarOptions:
    """How a graph becomes a program.

    Attributes:
        numerics: `machine` rounds as cells and converters do, `fp32` computes in binary32 throughout.
        schedule: The order in which tokens and layers are issued.
        copies: Groups that hold X of an attention that works on X.
    """

    numerics: str = "fp32"
    schedule: Schedule = "rows"
    copies: int = 1


def build_crossbar_program(graph: Graph, machine: Machine, options: CrossbarOptions) -> Program:
    """Compile a graph of float32 values [1, n, width] with a number of tokens n.

    The entry `load` writes the matrices into the arrays, `encode` takes all tokens. Inputs and outputs are symbols.

    Raises:
        MachineError: the machine has no crossbars.
        UnsupportedError: an operation that this lowering does not have; all of them are named.
        ResourceLimitError: matrices do not fit the arrays, or values the shared buffer.
    """
    if machine.crossbar is None:
        raise MachineError(f"the machine '{machine.name}' has no crossbars")
    lowering = _Lowering(graph, machine, options)
    lowering.lower()
    return lowering.program()


@dataclass
class _Lowering:
    graph: Graph
    machine: Machine
    options: CrossbarOptions
    rows: dict[Value, Row] = field(default_factory=dict[Value, Row])
    matrices: dict[Value, Stored] = field(default_factory=dict[Value, Stored])
    steps: list[Step] = field(default_factory=list[Step])

    def __post_init__(self) -> None:
        self.rooms = Rooms(self.machine)
        self.tokens = _tokens(self.graph)

    def lower(self) -> None:
        wanted = [node.op for node in self.graph.nodes if node.op not in _LOWERINGS]
        if wanted:
            raise UnsupportedError(
                f"crossbars cannot run {', '.join(sorted(set(wanted)))}",
                help=f"they run {', '.join(sorted(_LOWERINGS))}",
            )
        for value in self.graph.inputs:
            self.rows[value] = self.row(value)
        for node in self.graph.nodes:
            if node.op == "concat":
                self._join(node)
        for node in self.graph.nodes:
            _LOWERINGS[node.op](self, node)

    def program(self) -> Program:
        emitter = Emitter()
        load_matrices(emitter, list(self.matrices.values()))
        emitter.emit("halt")
        entries = {"load": Entry("load", 0, ()), "encode": Entry("encode", len(emitter.code), ())}
        emit_loops(emitter, self.steps, self.tokens, self.options.schedule == "layers")
        emitter.emit("halt")
        named = [*((value.name, value) for value in self.graph.inputs), *self.graph.outputs.items()]
        return Program(
            machine=self.machine.name,
            machine_sha256=self.machine.sha256,
            numerics=self.options.numerics,
            code=tuple(emitter.code),
            entries=entries,
            regions=tuple(self.rooms.regions),
            symbols=tuple(self._symbol(name, self.rows[value]) for name, value in named),
            segments=tuple(self.rooms.segments),
            sources=tuple(emitter.sources),
            debug=tuple(emitter.debug),
        )

    def _symbol(self, name: str, row: Row) -> Symbol:
        return Symbol(name, "sb", row.address, self.tokens * row.stride)

    def step(self, sources: tuple[Row, ...], result: Row, emit: Callable[[TokenLoop], None]) -> None:
        """Add what happens to every token."""
        self.steps.append(Step(emit, sources, result))

    def write(self, step: Step) -> None:
        """Add a step that writes cells, as soon as its operands are there."""
        makers = [n for n, each in enumerate(self.steps) if each.result and any(map(each.result.meets, step.sources))]
        self.steps.insert(makers[-1] + 1 if makers else 0, step)

    def row(self, value: Value) -> Row:
        """The room of a value: its part of a joined value, or a new one."""
        if value not in self.rows:
            width = _width(value)
            self.rows[value] = Row(self.rooms.room("value", self.tokens * width), width, width)
        return self.rows[value]

    def scratch(self, width: int) -> Row:
        """Words of each token for what is computed on the way."""
        return Row(self.rooms.room("scratch", self.tokens * width), width, width)

    def constant(self, value: Value | None) -> int | None:
        """The address of a vector, `None` without one."""
        return None if value is None else self.rooms.constant("constant", np.asarray(value.constant))

    def times(self, weight: Value, source: Row, target: Row, bias: Value | None) -> None:
        """A product with a constant matrix."""
        if weight not in self.matrices:
            self.matrices[weight] = self.rooms.matrix("matrix", np.asarray(weight.constant))
        matrix, begin, lines = self.matrices[weight], self.constant(bias), self.rooms.crossbar.array_rows
        self.step((source,), target, lambda loop: product(loop, matrix, source, target, begin, lines))

    def _join(self, node: Node) -> None:
        """Operands of a `concat` are computed where they belong."""
        whole, start = self.row(node.output), 0
        for value in node.inputs:
            if value is None or value in self.rows or len(value.uses) > 1 or value.producer is None:
                raise UnsupportedError(f"'{node.name}' joins a value that something else needs")
            self.rows[value] = whole.part(start, _width(value))
            start += _width(value)


def _tokens(graph: Graph) -> int:
    lengths = {value.shape[1] for value in graph.inputs if value.type.rank == 3}
    length = next(iter(lengths)) if len(lengths) == 1 else None
    is_plain = all(value.type.rank == 3 and value.shape[0] == 1 for value in graph.inputs)
    if not isinstance(length, int) or not is_plain:
        raise UnsupportedError(
            "crossbars take inputs [1, tokens, width] with a number of tokens", help="bind dimensions with --dim"
        )
    return length


def _width(value: Value) -> int:
    return int(str(value.shape[-1]))


def _linear(lowering: _Lowering, node: Node) -> None:
    source, target = lowering.row(node.operand(0)), lowering.row(node.output)
    lowering.times(node.operand(1), source, target, node.optional(2))


def _feed_forward(lowering: _Lowering, node: Node) -> None:
    activation = str(node.attributes["activation"])
    if node.optional(3) is not None or activation not in _ACTIVATIONS:
        raise UnsupportedError(f"feed-forward block '{node.name}' with a gate or with '{activation}' in crossbars")
    up, down = node.operand(1), node.operand(5)
    middle = lowering.scratch(_width(up))
    lowering.times(up, lowering.row(node.operand(0)), middle, node.optional(2))
    words = middle.width
    lowering.step(
        (middle,), middle, lambda loop: loop.emitter.emit("vmap", loop.at(middle), loop.at(middle), activation, words)
    )
    lowering.times(down, middle, lowering.row(node.output), node.optional(6))


def _add(lowering: _Lowering, node: Node) -> None:
    a, b = node.operand(0), node.operand(1)
    if a.is_constant or b.is_constant or a.shape != b.shape:
        raise UnsupportedError(f"'{node.name}' adds values of different shapes, or a constant, beside crossbars")
    left, right, target = (lowering.row(value) for value in (a, b, node.output))
    rows, words = (target, left, right), left.width
    lowering.step((left, right), target, lambda loop: loop.emitter.emit("vadd", *(loop.at(row) for row in rows), words))


def _layer_norm(lowering: _Lowering, node: Node) -> None:
    source, target = lowering.row(node.operand(0)), lowering.row(node.output)
    factor, addend = lowering.constant(node.operand(1)), lowering.constant(node.optional(2))
    width, epsilon = source.width, float(node.attributes["epsilon"])
    word = lowering.scratch(1)

    def emit(loop: TokenLoop) -> None:
        out, single = loop.at(target), loop.at(word)
        loop.emitter.emit("rsum", single, loop.at(source), width)
        loop.emitter.emit("vmap", single, single, "copy", 1, scale=1 / width)
        loop.emitter.emit("vsub", out, loop.at(source), single, width, b_step=0)
        loop.emitter.emit("rsumsq", single, out, width)
        loop.emitter.emit("vmap", single, single, "rsqrt", 1, scale=1 / width, bias=epsilon)
        loop.emitter.emit("vmul", out, out, single, width, b_step=0)
        loop.emitter.emit("vmul", out, out, factor or 0, width)
        if addend is not None:
            loop.emitter.emit("vadd", out, out, addend, width)

    lowering.step((source,), target, emit)


def _split(lowering: _Lowering, node: Node) -> None:
    whole, start = lowering.row(node.operand(0)), 0
    if node.attributes["axis"] != node.operand(0).type.rank - 1:
        raise UnsupportedError(f"'{node.name}' splits tokens")
    for value in node.outputs:
        lowering.rows[value] = whole.part(start, _width(value))
        start += _width(value)


def _concat(lowering: _Lowering, node: Node) -> None:
    """Nothing: the operands stand where they belong."""


def _attention(lowering: _Lowering, node: Node) -> None:
    tokens, rooms = lowering.tokens, lowering.rooms
    check_attention(node, tokens, rooms)
    heads = int(node.attributes["heads"])
    by_tables = lowering.machine.hybrid_softmax is not None
    block = CrossbarAttention(
        tokens=tokens,
        scale=float(node.attributes["scale"]),
        query=lowering.row(node.operand(0)),
        key=lowering.row(node.operand(1)),
        value=lowering.row(node.operand(2)),
        result=lowering.row(node.output),
        scores=lowering.scratch(heads * tokens),
        largest=lowering.scratch(heads),
        heads=heads_of(node, rooms, lowering.options.copies),
        kv_heads=int(node.attributes["kv_heads"]),
        array_rows=rooms.crossbar.array_rows,
        exponentials=lowering.scratch(heads * tokens) if by_tables else None,
        sums=lowering.scratch(heads) if by_tables else None,
    )
    lowering.write(block.write_step())
    lowering.steps += block.attend_steps()


_LOWERINGS: dict[str, Callable[[_Lowering, Node], None]] = {
    "linear": _linear,
    "feed_forward": _feed_forward,
    "add": _add,
    "layer_norm": _layer_norm,
    "split": _split,
    "concat": _concat,
    "attention": _attention,
}
