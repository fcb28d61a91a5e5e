"""Graph -> Program: rooms, the token loop of every phase, entries, initial contents."""

from __future__ import annotations

from enum import Enum

import numpy as np

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
from passes import Dim, Graph, Node, Placement, Value, is_bank_table
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
from pimc.backend.key_masks import LEAST_MAXIMUM, LEAST_SUM, input_masks
from pimc.backend.legality import check_machine, check_operations, needs_whole_tensors
from pimc.backend.lengths import find_lengths
from pimc.backend.lowering import HostRegisters, KeyMask, Lowering
from pimc.backend.open_ahead import open_ahead
from pimc.backend.options import ProgramOptions
from pimc.backend.roll_loops import Code, roll_loops
from pimc.backend.row_axes import RowMap, find_rows, is_token_integer
from pimc.backend.schedule import make_schedule
from pimc.backend.shared_buffer import BufferAllocator, BufferFullError
from pimc.backend.storage import Storage
from pimc.backend.token_loop import LOWERINGS, TokenLoop


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
    rows = find_rows(graph, lambda node, found: needs_whole_tensors(graph, node, found, LOWERINGS))
    check_operations(graph, rows, LOWERINGS)
    levels = [level for level in Spill if level is not Spill.ALL or _outputs_can_spill(graph, rows)]
    for level in levels:
        try:
            return _Builder(graph, machine, options, rows, level).build()
        except BufferFullError:
            if level is levels[-1]:
                raise
    raise AssertionError("the last level either builds or raises")


def _outputs_can_spill(graph: Graph, rows: RowMap) -> bool:
    """Whether every output has one row for each token of a single sequence."""
    axes = [rows.rows.get(value) for value in graph.outputs.values()]
    return all(own is not None and own.space == rows.main and own.space.batch == 1 for own in axes)


class Spill(Enum):
    """What leaves the shared buffer for the banks."""

    NONE = "nothing"
    VALUES = "values"
    ALL = "values and outputs"


class _Builder:
    """One attempt to build the program; every attribute is a part of it."""

    def __init__(self, graph: Graph, machine: Machine, options: ProgramOptions, rows: RowMap, spill: Spill) -> None:
        near_bank = machine.near_bank
        if near_bank is None:
            raise ResourceLimitError(f"the machine '{machine.name}' has no near-bank units to compile for")
        self.graph, self.machine, self.options, self.rows = graph, machine, options, rows
        self.near_bank = near_bank
        self.placement: Placement = graph.facts["place_weights"]
        self.key_masks = input_masks(graph)
        self.schedule = make_schedule(graph, rows, self.key_masks)
        self.emitter = Emitter()
        self.host = HostRegisters(*(self.emitter.register() for _ in range(4)))
        self.lengths = find_lengths(graph, rows, self.schedule, self.host, self.emitter, options)
        allocator = BufferAllocator(machine.shared_buffer.capacity_words)
        unit = near_bank.channels * near_bank.banks
        self.storage = Storage(self.lengths.extents, allocator, rows, unit, self.lengths.tokens)
        columns = self.placement.columns
        self.rooms = HostRooms([Region("weights", "bank", 0, columns, "weights")] if columns else [])
        self.spill = spill

    def build(self) -> Program:
        """Reserve all rooms, emit all code, collect the program."""
        self._place_constants()
        constants = self._end_of_rooms()
        self._place_inputs()
        masks = self._place_masks()
        caches = place_caches(self.graph, self.machine, self.placement.columns, self.lengths.caches, self.rooms)
        inputs_end = self._end_of_rooms()
        self.outputs = self._place_outputs()
        self._buffer_regions(constants, inputs_end)
        self.low = Lowering(
            self.graph,
            self.machine,
            self.near_bank,
            self.emitter,
            self.storage,
            self.rows,
            self.lengths.extents,
            self.placement,
            caches,
            self.host,
            masks,
        )
        entries = self._emit()
        return self._program(entries, constants)

    def _end_of_rooms(self) -> int:
        return self.storage.allocator.peak_words

    def _place_constants(self) -> None:
        for node in self.graph.nodes:
            if is_token_integer(self.rows, node.output):
                continue
            for position, value in enumerate(node.inputs):
                if value is not None and value.is_constant and not _in_banks(node, position):
                    self.storage.constants.place(value)
        for value in self.graph.outputs.values():
            self.storage.constants.place(value)
        self.mask_bounds: tuple[int, ...] = ()
        if any(node.op == "cached_attention" and node.optional(3) is not None for node in self.graph.nodes):
            bounds = (("the least maximum of a masked row", LEAST_MAXIMUM), ("the least sum of a softmax", LEAST_SUM))
            self.mask_bounds = tuple(
                self.storage.constants.add(np.array([number], np.float32), name) for name, number in bounds
            )

    def _place_inputs(self) -> None:
        symbols = place_inputs(self.graph, self.storage, self._masked_keys())
        for value, symbol in zip(self.graph.inputs, symbols, strict=True):
            self.rooms.add_port(self.graph, value.name, "input", str(symbol.layout["kind"]), symbol)

    def _masked_keys(self) -> dict[Value, Dim]:
        """Number of keys that each input with a key mask speaks of."""
        nodes = [
            node for node in self.graph.nodes if node.op == "cached_attention" and node.optional(3) in self.key_masks
        ]
        sizes = self.lengths.caches
        return {self.key_masks[node.operand(3)]: sizes[str(node.attributes["cache"])].tokens for node in nodes}

    def _place_masks(self) -> dict[Value, KeyMask]:
        """Room for the additive form of every key mask."""
        masks: dict[Value, KeyMask] = {}
        for node in self.graph.nodes:
            value = node.optional(3) if node.op == "cached_attention" else None
            if value is None or value in masks:
                continue
            sequences, keys = int(str(value.shape[0])), self.lengths.mask_words(value)
            row = keys if sequences > 1 else 0
            word = self.storage.allocator.allocate(sequences * keys, "a key mask")
            masks[value] = KeyMask(word, row, self.key_masks.get(value), *self.mask_bounds)
        return masks

    def _place_outputs(self) -> dict[str, Symbol]:
        if self.spill is Spill.ALL:
            first, chunk = self._end_of_banks(), self.lengths.chunk
            symbols = spill_outputs(self.graph, self.storage, self.machine, first, chunk, self.rooms)
        else:
            symbols = place_outputs(self.graph, self.storage)
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

    def _emit(self) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        others = tuple(symbol.name for symbol in self.lengths.others)
        mask = ("masked",) if self.key_masks else ()
        if self.lengths.has_decode:
            entries["decode"] = Entry("decode", 0, ("kv_length", *mask, *others))
            self.emitter.emit("li", self.host.token_count, 1)
            self.emitter.emit("li", self.host.first_output, 0)
            registers = ("kv_length", "token_count", "first_output", *mask, *others)
            entries["prefill"] = Entry("prefill", len(self.emitter.code), registers)
        else:
            main = ("kv_length", "token_count") if self.rows.main is not None else ()
            entries["encode"] = Entry("encode", 0, (*main, *mask, *others))
        spills = self.spill is not Spill.NONE
        first = self._end_of_banks() if spills else None
        crossing = Crossing(self.low, self.schedule.phases, first, _read_whole(self.graph, self.rows))
        TokenLoop(self.low, self.schedule.phases, self.outputs, self.rooms.spilled, crossing).emit()
        self.emitter.emit("halt")
        if crossing.columns:
            first = self._end_of_banks()
            total = first + crossing.columns
            check_columns(self.near_bank, self.placement.columns, total, self.options.max_context)
            self.rooms.regions.append(Region("spilled_values", "bank", first, crossing.columns, "scratch"))
        return entries

    def _end_of_banks(self) -> int:
        ends = (region.address + region.size for region in self.rooms.regions if region.space == "bank")
        return max(ends, default=0)

    def _registers(self) -> tuple[RegisterSymbol, ...]:
        symbols: list[RegisterSymbol] = []
        if self.rows.main is not None:
            cached = self.options.max_context - 1 if self.lengths.has_past else 0
            symbols += [
                RegisterSymbol("kv_length", self.host.kv_length, 0, cached, "tokens in the KV cache"),
                RegisterSymbol("token_count", self.host.token_count, 1, self.lengths.chunk, "valid tokens of this run"),
            ]
        if self.lengths.has_decode:
            meaning = "first token of this run whose outputs are wanted"
            symbols.append(RegisterSymbol("first_output", self.host.first_output, 0, self.lengths.chunk, meaning))
        if self.key_masks:
            meaning = "1 when the key mask excludes a position"
            symbols.append(RegisterSymbol("masked", self.host.masked, 0, 1, meaning))
        return (*symbols, *self.lengths.others)

    def _limits(self) -> tuple[RegisterLimit, ...]:
        if self.rows.main is None:
            return ()
        return (RegisterLimit(("kv_length", "token_count"), max(self.options.max_context, self.lengths.chunk)),)

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
            limits=self._limits(),
            regions=tuple(self.rooms.regions),
            symbols=tuple(self.rooms.symbols),
            ports=tuple(self.rooms.ports),
            segments=self._segments(constants),
            sources=code.sources,
            debug=code.debug,
            metadata={
                **self.options.metadata,
                "max_context": self.options.max_context,
                "chunk": self.lengths.chunk,
                "symbols": self.lengths.symbols,
                "tokens": "1" if self.rows.main is None else str(self.rows.main.tokens),
                "spilled": self.spill.value,
                "shared_buffer_peak_words": self.storage.allocator.peak_words,
            },
        )

    def _segments(self, constants: int) -> tuple[Segment, ...]:
        segments: list[Segment] = []
        if self.options.weights and self.placement.columns:
            segments.append(bank_segment("weights", self.placement, self.near_bank, self.options.numerics))
        if constants:
            segments.append(buffer_segment("constants", constants, self.storage.constants.placed))
        return tuple(segments)

    def _name_weights(self) -> None:
        for matrix in self.placement.matrices:
            self.rooms.add_symbol(matrix.name, "bank", matrix.column, matrix.columns)
        for name, word, raw in self.storage.constants.placed:
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
    if node.op == "expert_linear":
        return position == 2
    if node.op == "feed_forward":
        return position in (1, 3, 5)
    return position == 0 and is_bank_table(node)


def _read_whole(graph: Graph, rows: RowMap) -> frozenset[Value]:
    """Row values that are read as whole tensors, by steps on these or on other rows."""
    return frozenset(
        value
        for node in graph.nodes
        for value in node.inputs
        if value is not None and (own := rows.rows.get(value)) is not None and own.space != rows.space(node)
    )
