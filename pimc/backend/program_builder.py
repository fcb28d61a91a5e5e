"""Graphs -> Program: one model with all its entries, or several models with an entry each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from isa import (
    Entry,
    Instruction,
    Machine,
    Program,
    Region,
    RegisterLimit,
    RegisterSymbol,
    Segment,
    Source,
)
from passes import Graph, Placement
from pimc.backend.caches.choice import mechanism_of, selection_of
from pimc.backend.crossbar.loading import LOAD, emit_loading, staging_words
from pimc.backend.emitter import Emitter
from pimc.backend.entry_builder import EntryBuilder, Shared, Spill, Stage, near_bank_of
from pimc.backend.legality import check_machine, check_operations, needs_whole_tensors
from pimc.backend.options import ProgramOptions
from pimc.backend.roll_loops import Code
from pimc.backend.rooms.constants import Constants
from pimc.backend.rooms.host_rooms import HostRooms
from pimc.backend.rooms.images import bank_segment, buffer_segment
from pimc.backend.rooms.shared_buffer import BufferAllocator, BufferFullError
from pimc.backend.rows.find_rows import find_rows
from pimc.backend.rows.row_axes import RowMap
from pimc.backend.token_loop import LOWERINGS


def build_program(graph: Graph, machine: Machine, options: ProgramOptions) -> Program:
    """Lower a fused and placed graph to a program.

    Values of all tokens of a run stay in the shared buffer as long as it is large enough; else those that cross from
    phase to phase are spilled to the banks, then the outputs too.

    Raises:
        UnsupportedError: an operation has no lowering; all of them are named.
        ResourceLimitError: the machine is too small.
    """
    return build_stages((Stage(graph, options),), machine)


def build_stages(stages: Sequence[Stage], machine: Machine) -> Program:
    """Lower graphs that were placed together to one program, with an entry for each when there are several.

    Inputs, outputs and scratch of different entries overlap in the shared buffer. What does not: constants, outputs
    that later stages read, KV caches.

    Raises:
        UnsupportedError: an operation has no lowering; all of them are named.
        ResourceLimitError: the machine is too small.
    """
    check_machine(near_bank_of(machine))
    maps: list[RowMap] = []
    for stage in stages:
        maps.append(_rows(stage.graph))
        check_operations(stage.graph, maps[-1], LOWERINGS)
    can_spill = [_outputs_can_spill(stage, rows, stages) for stage, rows in zip(stages, maps, strict=True)]
    levels = [level for level in Spill if level is not Spill.ALL or any(can_spill)]
    for level in levels:
        lower = Spill.VALUES if level is Spill.ALL else level
        try:
            return _Linker(stages, machine, maps, [level if can else lower for can in can_spill]).build()
        except BufferFullError:
            if level is levels[-1]:
                raise
    raise AssertionError("the last level either builds or raises")


def _rows(graph: Graph) -> RowMap:
    return find_rows(graph, lambda node, found: needs_whole_tensors(graph, node, found, LOWERINGS))


def _outputs_can_spill(stage: Stage, rows: RowMap, stages: Sequence[Stage]) -> bool:
    """Whether every output has one row for each token of a single sequence, and no other stage reads it."""
    linked = {output for other in stages for output in other.links.values()}
    if any(f"{stage.entry}/{name}" in linked for name in stage.graph.outputs):
        return False
    axes = [rows.rows.get(value) for value in stage.graph.outputs.values()]
    return all(own is not None and own.space == rows.main and own.space.batch == 1 for own in axes)


class _Linker:
    """One attempt to build the program; every attribute is a part of it."""

    def __init__(
        self, stages: Sequence[Stage], machine: Machine, maps: Sequence[RowMap], spills: Sequence[Spill]
    ) -> None:
        self.machine, self.options = machine, stages[0].options
        self.is_alone = not stages[0].entry
        self.placement: Placement = stages[0].graph.facts["place_weights"]
        columns = self.placement.columns
        self.rooms = HostRooms([Region("weights", "bank", 0, columns, "weights")] if columns else [])
        if machine.crossbar is not None and self.placement.groups:
            size = self.placement.groups * machine.crossbar.columns
            self.rooms.regions.append(Region("matrices", "xb", 0, size, "scratch"))
        self.allocator = BufferAllocator(machine.shared_buffer.capacity_words)
        self.constants = Constants(self.allocator)
        self.shared = Shared(near_bank_of(machine), self.rooms, self.constants)
        self.builders = [
            EntryBuilder(stage, machine, rows, spill, self.shared)
            for stage, rows, spill in zip(stages, maps, spills, strict=True)
        ]

    def build(self) -> Program:
        """Reserve all rooms, emit all code, collect the program."""
        for builder in self.builders:
            self.constants.begin_graph()
            builder.place_constants()
            self._place_selection_tables(builder)
        constants = self.allocator.peak_words
        self._reserve_links()
        self._share_caches()
        links = self.allocator.peak_words
        self._place_cache_state()
        common = self.allocator.peak_words
        for builder in self.builders:
            if not self.is_alone:
                builder.use_allocator(self._behind(common))
            builder.place()
        self._buffer_regions(constants, links, common)
        registers = self._registers()
        largest = {symbol.name: symbol.high for symbol in registers}
        parts = [*(builder.emit(largest) for builder in self.builders), *self._loading()]
        return self._program(parts, registers, constants)

    def _loading(self) -> list[Code]:
        """The code that writes matrices into arrays, where there are any; it uses words that nothing holds then."""
        if not self.placement.groups:
            return []
        allocator, words = self.builders[0].allocator, staging_words(self.placement.matrices)
        staging = allocator.allocate(words, "weights on their way into arrays")
        allocator.release(staging, words)
        emitter = Emitter()
        emit_loading(emitter, self.placement.matrices, staging)
        return [Code(tuple(emitter.code), tuple(emitter.debug), tuple(emitter.sources))]

    def _reserve_links(self) -> None:
        for output in dict.fromkeys(output for each in self.builders for output in each.stage.links.values()):
            entry, _, name = output.partition("/")
            next(each for each in self.builders if each.stage.entry == entry).reserve_output(name)

    def _share_caches(self) -> None:
        """Let caches of several stages hold what the largest of these needs."""
        most = self.shared.caches.most_tokens
        for builder in [] if self.is_alone else self.builders:
            for cache in builder.graph.caches.values():
                name = cache.shared_name
                most[name] = max(most.get(name, 0), builder.lengths.caches[cache.name].most_tokens)

    def _place_selection_tables(self, builder: EntryBuilder) -> None:
        """Place what selections of KV caches read; caches with the same words share them."""
        found: dict[tuple[int, ...], int] = {}
        for cache in builder.graph.caches.values():
            words = selection_of(cache).constants()
            if words and words not in found:
                found[words] = self.constants.add(np.array(words, np.uint32), "the numbers of a selection")
            if words:
                builder.rooms.selection_tables[cache.name] = found[words]

    def _place_cache_state(self) -> None:
        """Reserve what KV caches keep in the buffer from run to run; stages that share a cache share it.

        A selection with words of its own goes only with mechanisms that have none.
        """
        found: dict[str, int] = {}
        for builder in self.builders:
            for cache in builder.graph.caches.values():
                mechanism = mechanism_of(cache)
                name = cache.name if self.is_alone else cache.shared_name
                own = builder.lengths.caches[cache.name].most_tokens
                tokens = max(own, self.shared.caches.most_tokens.get(name, 0))
                words = mechanism.state_words(cache, tokens) or selection_of(cache).state_words(cache, tokens)
                if words and name not in found:
                    found[name] = self.allocator.allocate(
                        words, f"the state of the cache '{cache.name}'", mechanism.levers
                    )
                if words:
                    builder.rooms.cache_state[cache.name] = found[name]

    def _behind(self, words: int) -> BufferAllocator:
        """The shared buffer without its first words."""
        allocator = BufferAllocator(self.machine.shared_buffer.capacity_words)
        if words:
            allocator.allocate(words, "constants and what stages share")
        return allocator

    def _buffer_regions(self, constants: int, links: int, common: int) -> None:
        capacity = self.machine.shared_buffer.capacity_words
        borders = [("constants", constants, "constants"), ("links", links, "scratch"), ("cache_state", common, "cache")]
        if self.is_alone:
            only = self.builders[0]
            borders += [("inputs", only.inputs_end, "inputs"), ("outputs", only.outputs_end, "output")]
        borders.append(("scratch", capacity, "scratch"))
        start = 0
        for name, end, role in borders:
            if end > start:
                self.rooms.regions.append(Region(name, "sb", start, end - start, role))
            start = end

    def _registers(self) -> tuple[RegisterSymbol, ...]:
        """Registers of all stages; one that several have takes the bounds of all."""
        found: dict[str, RegisterSymbol] = {}
        for symbol in (symbol for builder in self.builders for symbol in builder.registers()):
            other = found.get(symbol.name, symbol)
            low, high = min(symbol.low, other.low), max(symbol.high, other.high)
            found[symbol.name] = replace(symbol, low=low, high=high)
        return tuple(found.values())

    def _limits(self) -> tuple[RegisterLimit, ...]:
        limits = [limit for builder in self.builders if (limit := builder.context_limit) is not None]
        return (RegisterLimit(("kv_length", "token_count"), max(limits)),) if limits else ()

    def _program(self, parts: Sequence[Code], registers: tuple[RegisterSymbol, ...], constants: int) -> Program:
        self._name_weights()
        code, starts = _joined(parts)
        entries = [
            replace(entry, address=entry.address + start)
            for builder, start in zip(self.builders, starts, strict=False)
            for entry in builder.entries.values()
        ]
        if len(starts) > len(self.builders):
            entries.append(Entry(LOAD, starts[-1], ()))
        return Program(
            machine=self.machine.name,
            machine_sha256=self.machine.sha256,
            numerics=self.options.numerics,
            code=code.instructions,
            entries={entry.name: entry for entry in entries},
            registers=registers,
            limits=self._limits(),
            regions=tuple(self.rooms.regions),
            symbols=tuple(self.rooms.symbols),
            ports=tuple(self.rooms.ports),
            segments=self._segments(constants),
            sources=code.sources,
            debug=code.debug,
            metadata=self._metadata(entries),
        )

    def _metadata(self, entries: Iterable[Entry]) -> Mapping[str, object]:
        """Facts of the program; of several models those that differ stand below the name of the entry."""
        facts: dict[str, object] = {
            **self.options.metadata,
            "max_context": self.options.max_context,
            "shared_buffer_peak_words": max(builder.allocator.peak_words for builder in self.builders),
        }
        if self.is_alone:
            return facts | self.builders[0].facts()
        own = {
            entry.name: {**builder.stage.facts, "max_context": builder.context_limit or 1, **builder.facts()}
            for entry, builder in zip(entries, self.builders, strict=False)
        }
        return facts | {"entries": own}

    def _segments(self, constants: int) -> tuple[Segment, ...]:
        segments: list[Segment] = []
        if self.options.weights and self.placement.columns:
            segments.append(bank_segment("weights", self.placement, self.shared.near_bank, self.options.numerics))
        if constants:
            segments.append(buffer_segment("constants", constants, self.constants.placed))
        return tuple(segments)

    def _name_weights(self) -> None:
        for matrix in self.placement.matrices:
            self.rooms.add_symbol(matrix.name, "bank", matrix.column, matrix.columns)
        for name, word, raw in self.constants.placed:
            self.rooms.add_symbol(name, "sb", word, raw.size)


def _joined(parts: Sequence[Code]) -> tuple[Code, list[int]]:
    """The code of all stages one behind the other, and where each begins."""
    instructions: list[Instruction] = []
    debug: list[int] = []
    sources: list[Source] = []
    starts: list[int] = []
    for part in parts:
        starts.append(len(instructions))
        instructions += [_moved(each, starts[-1]) for each in part.instructions]
        debug += [line + len(sources) for line in part.debug]
        sources += part.sources
    return Code(tuple(instructions), tuple(debug), tuple(sources)), starts


def _moved(instruction: Instruction, distance: int) -> Instruction:
    """The instruction for code that lies `distance` instructions further on."""
    if not distance or instruction.mnemonic != "skipz":
        return instruction
    target = instruction["target"]
    assert isinstance(target, int)
    return instruction.with_value("target", target + distance)
