"""Graph -> Program: rooms, the token loop of every phase, entries, initial contents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from isa import (
    Entry,
    Machine,
    Program,
    Region,
    RegisterLimit,
    RegisterSymbol,
    ResourceLimitError,
    Segment,
    Symbol,
    UnsupportedError,
)
from passes import Graph, Node, Placement, Value, is_bank_table
from pimc.backend.crossing import Crossing
from pimc.backend.emitter import Emitter
from pimc.backend.host_rooms import (
    HostRooms,
    check_columns,
    place_caches,
    place_inputs,
    place_outputs,
    spill_outputs,
)
from pimc.backend.images import bank_segment, buffer_segment
from pimc.backend.legality import check_machine, check_operations
from pimc.backend.lowering import HostRegisters, Lowering
from pimc.backend.open_ahead import open_ahead
from pimc.backend.roll_loops import Code, roll_loops
from pimc.backend.schedule import make_schedule
from pimc.backend.shared_buffer import BufferAllocator, BufferFullError
from pimc.backend.storage import Storage
from pimc.backend.token_axes import TokenAxes, find_token_axes
from pimc.backend.token_loop import LOWERINGS, TokenLoop


@dataclass(frozen=True)
class ProgramOptions:
    """What the user chooses about a program.

    Attributes:
        max_context: Longest attended length, which the KV cache reserves.
        chunk: Tokens of one `prefill` run at most.
        numerics: `machine` or `fp32`.
        metadata: Further facts to record in the program.
        weights: Whether the program holds the weights; without them it can only be timed.
    """

    max_context: int
    chunk: int
    numerics: str
    metadata: Mapping[str, Any]
    weights: bool = True


def build_program(graph: Graph, machine: Machine, options: ProgramOptions) -> Program:
    """Lower a fused and placed graph to a program.

    Values of all tokens of a run stay in the shared buffer as long as it is large enough; else those that cross from
    phase to phase are spilled to the banks, then the outputs too.

    Raises:
        UnsupportedError: an operation has no lowering; all of them are named.
        ResourceLimitError: the machine is too small.
    """
    if machine.near_bank is None:
        raise UnsupportedError(f"the machine '{machine.name}' has no near-bank units to compile for")
    check_machine(machine.near_bank)
    axes = find_token_axes(graph)
    check_operations(graph, axes, LOWERINGS)
    for level in Spill:
        try:
            return _Builder(graph, machine, options, axes, level).build()
        except BufferFullError:
            if level is Spill.ALL:
                raise
    raise AssertionError("the last level either builds or raises")


def _chunk(options: ProgramOptions, axes: TokenAxes, causal: bool) -> int:
    """Tokens of one run: all of them where attention looks ahead, or where their number is bound."""
    if not causal:
        return options.max_context
    bound = axes.tokens if isinstance(axes.tokens, int) else 0
    return min(max(options.chunk, bound), options.max_context)


class Spill(Enum):
    """What leaves the shared buffer for the banks."""

    NONE = "nothing"
    VALUES = "values"
    ALL = "values and outputs"


class _Builder:
    """One attempt to build the program; every attribute is a part of it."""

    def __init__(self, graph: Graph, machine: Machine, options: ProgramOptions, axes: TokenAxes, spill: Spill) -> None:
        near_bank = machine.near_bank
        if near_bank is None:
            raise ResourceLimitError(f"the machine '{machine.name}' has no near-bank units to compile for")
        self.graph, self.machine, self.options = graph, machine, options
        self.near_bank = near_bank
        self.placement: Placement = graph.facts["place_weights"]
        self.schedule = make_schedule(graph, _global_values(graph, axes))
        self.causal = len(self.schedule) == 1
        self.chunk = _chunk(options, axes, self.causal)
        self.emitter = Emitter()
        self.host = HostRegisters(*(self.emitter.register() for _ in range(4)))
        allocator = BufferAllocator(machine.shared_buffer.capacity_words)
        self.storage = Storage(self.emitter, allocator, axes, near_bank.channels * near_bank.banks)
        self.rooms = HostRooms([Region("weights", "bank", 0, self.placement.columns, "weights")])
        self.spill = spill

    def build(self) -> Program:
        """Reserve all rooms, emit all code, collect the program."""
        self._place_constants()
        constants = self._end_of_rooms()
        inputs = self._place_inputs()
        mask_words = self._place_mask()
        caches = place_caches(self.graph, self.machine, self.placement.columns, self.options.max_context, self.rooms)
        inputs_end = self._end_of_rooms()
        self.outputs = self._place_outputs()
        self._buffer_regions(constants, inputs_end)
        self.low = Lowering(
            self.graph,
            self.machine,
            self.near_bank,
            self.emitter,
            self.storage,
            self.storage.axes,
            self.placement,
            caches,
            self.host,
            self.options.max_context,
            mask_words,
        )
        entries = self._emit(inputs)
        return self._program(entries, constants)

    def _end_of_rooms(self) -> int:
        return self.storage.allocator.peak_words

    def _place_constants(self) -> None:
        for node in self.graph.nodes:
            for position, value in enumerate(node.inputs):
                if value is None or not value.is_constant or _in_banks(node, position):
                    continue
                if value.type.dtype.startswith(("float", "bfloat")) or value in self.storage.axes.axes:
                    self.storage.place_constant(value)

    def _place_inputs(self) -> list[Symbol]:
        keys = self.storage.axes.key_masks
        symbols = place_inputs(self.graph, self.storage, list(keys), self.chunk, self.options.max_context)
        for value, symbol in zip(self.graph.inputs, symbols, strict=True):
            self.rooms.add_port(self.graph, value.name, "input", str(symbol.layout["kind"]), symbol)
        return symbols

    def _place_mask(self) -> int | None:
        if not self.storage.axes.key_masks:
            return None
        return self.storage.allocator.allocate(self.options.max_context, "the key mask")

    def _place_outputs(self) -> dict[str, Symbol]:
        if self.spill is Spill.ALL:
            first = self._end_of_banks()
            symbols = spill_outputs(self.graph, self.storage, self.machine, first, self.chunk, self.rooms)
        else:
            symbols = place_outputs(self.graph, self.storage, self.chunk)
        for name, symbol in symbols.items():
            self.rooms.add_port(self.graph, name, "output", str(symbol.layout["kind"]), symbol)
        return symbols

    def _buffer_regions(self, constants: int, inputs: int) -> None:
        capacity, outputs = self.machine.shared_buffer.capacity_words, self._end_of_rooms()
        borders = (("constants", constants), ("inputs", inputs), ("outputs", outputs), ("scratch", capacity))
        roles = {"constants": "constants", "inputs": "inputs", "outputs": "output", "scratch": "scratch"}
        start = 0
        for name, end in borders:
            if end > start:
                self.rooms.regions.append(Region(name, "sb", start, end - start, roles[name]))
            start = end

    def _emit(self, inputs: list[Symbol]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        mask = ("masked",) if self.low.mask_words is not None else ()
        if self.causal:
            entries["decode"] = Entry("decode", 0, ("kv_length", *mask))
            self.emitter.emit("li", self.host.token_count, 1)
            self.emitter.emit("li", self.host.first_output, 0)
            registers = ("kv_length", "token_count", "first_output", *mask)
            entries["prefill"] = Entry("prefill", len(self.emitter.code), registers)
        else:
            entries["encode"] = Entry("encode", 0, ("kv_length", "token_count", *mask))
        spills = self.spill is not Spill.NONE
        crossing = Crossing(self.low, self.schedule, self.chunk, self._end_of_banks() if spills else None)
        TokenLoop(self.low, self.schedule, self.outputs, self.rooms.spilled, crossing).emit(inputs)
        self.emitter.emit("halt")
        if crossing.columns:
            first = self._end_of_banks()
            check_columns(self.near_bank, self.placement.columns, first + crossing.columns, self.options.max_context)
            self.rooms.regions.append(Region("spilled_values", "bank", first, crossing.columns, "scratch"))
        return entries

    def _end_of_banks(self) -> int:
        return max(region.address + region.size for region in self.rooms.regions if region.space == "bank")

    def _registers(self) -> tuple[RegisterSymbol, ...]:
        longest = self.options.max_context
        cached = longest - 1 if self.causal else 0
        symbols = [
            RegisterSymbol("kv_length", self.host.kv_length, 0, cached, "tokens in the KV cache"),
            RegisterSymbol("token_count", self.host.token_count, 1, self.chunk, "valid tokens of this run"),
        ]
        if self.causal:
            meaning = "first token of this run whose outputs are wanted"
            symbols.append(RegisterSymbol("first_output", self.host.first_output, 0, self.chunk, meaning))
        if self.low.mask_words is not None:
            meaning = "1 when the key mask excludes a position"
            symbols.append(RegisterSymbol("masked", self.host.masked, 0, 1, meaning))
        return tuple(symbols)

    def _program(self, entries: dict[str, Entry], constants: int) -> Program:
        self._name_weights()
        self._unused_ports()
        emitter = self.emitter
        code = roll_loops(open_ahead(Code(tuple(emitter.code), tuple(emitter.debug), tuple(emitter.sources))))
        return Program(
            machine=self.machine.name,
            machine_sha256=self.machine.sha256,
            numerics=self.options.numerics,
            code=code.instructions,
            entries=entries,
            registers=self._registers(),
            limits=(RegisterLimit(("kv_length", "token_count"), self.options.max_context),),
            regions=tuple(self.rooms.regions),
            symbols=tuple(self.rooms.symbols),
            ports=tuple(self.rooms.ports),
            segments=self._segments(constants),
            sources=code.sources,
            debug=code.debug,
            metadata={
                **self.options.metadata,
                "max_context": self.options.max_context,
                "chunk": self.chunk,
                "spilled": self.spill.value,
                "shared_buffer_peak_words": self.storage.allocator.peak_words,
            },
        )

    def _segments(self, constants: int) -> tuple[Segment, ...]:
        segments: list[Segment] = []
        if self.options.weights:
            segments.append(bank_segment("weights", self.placement, self.near_bank, self.options.numerics))
        if constants:
            segments.append(buffer_segment("constants", constants, self.storage.constants))
        return tuple(segments)

    def _name_weights(self) -> None:
        for matrix in self.placement.matrices:
            self.rooms.add_symbol(matrix.name, "bank", matrix.column, matrix.layout.columns)
        for name, word, raw in self.storage.constants:
            self.rooms.add_symbol(name, "sb", word, raw.size)

    def _unused_ports(self) -> None:
        """Inputs that no result depends on stay in the signature; the host accepts and ignores them."""
        known = {port.name for port in self.rooms.ports}
        for name in self.graph.signature:
            if name not in known:
                self.rooms.add_port(self.graph, name, "input", "ignored", None)


def _in_banks(node: Node, position: int) -> bool:
    if node.op == "linear":
        return position == 1
    if node.op == "feed_forward":
        return position in (1, 3, 5)
    return position == 0 and is_bank_table(node)


def _global_values(graph: Graph, axes: TokenAxes) -> frozenset[Value]:
    """Results that belong to no token: key masks and what is derived from them."""
    return frozenset(
        value
        for node in graph.nodes
        for value in node.outputs
        if value not in axes.axes and node.op != "cached_attention"
    )
