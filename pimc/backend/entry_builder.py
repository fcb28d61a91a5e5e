"""One graph -> rooms, code and ports: all entries of a program of one model, or one entry of several models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from isa import Entry, Machine, NearBank, Region, RegisterSymbol, ResourceLimitError, Source, Symbol
from passes import Dim, Graph, Node, Placement, Value, block_facts, cache_facts, is_bank_table
from pimc.backend.attention.key_masks import LEAST_MAXIMUM, LEAST_SUM, input_masks
from pimc.backend.chosen_units import attention_unit
from pimc.backend.emitter import Emitter, Words
from pimc.backend.lengths import find_lengths
from pimc.backend.lowering import HostRegisters, KeyMask, Lowering, MaskBounds
from pimc.backend.open_ahead import open_ahead
from pimc.backend.options import ProgramOptions
from pimc.backend.roll_loops import Code, roll_loops
from pimc.backend.rooms.cache_rooms import SharedCaches, place_caches
from pimc.backend.rooms.constants import Constants
from pimc.backend.rooms.crossing import Crossing
from pimc.backend.rooms.host_rooms import (
    HostRooms,
    LinkedRoom,
    check_columns,
    place_inputs,
    place_outputs,
    spill_outputs,
)
from pimc.backend.rooms.shared_buffer import BufferAllocator
from pimc.backend.rooms.storage import Storage
from pimc.backend.rooms.views import View
from pimc.backend.rows.row_axes import RowMap, is_token_integer
from pimc.backend.rows.schedule import make_schedule
from pimc.backend.token_loop import TokenLoop


class Spill(Enum):
    """What leaves the shared buffer for the banks."""

    NONE = "nothing"
    VALUES = "values"
    ALL = "values and outputs"


@dataclass(frozen=True)
class Stage:
    """A graph and its part in a program.

    Attributes:
        graph: The fused and placed graph.
        options: What the user chooses.
        entry: Name of its only entry; empty when the graph is alone and has the entries that its lengths allow.
        links: Names of inputs that an output of an earlier stage fills, with `ENTRY/OUTPUT`.
        facts: What the host must know about this entry, as JSON values.
    """

    graph: Graph
    options: ProgramOptions
    entry: str = ""
    links: Mapping[str, str] = field(default_factory=dict[str, str])
    facts: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass
class Shared:
    """What the stages of a program have in common.

    Attributes:
        near_bank: Units of the machine.
        rooms: What the host sees.
        constants: Read-only values in the shared buffer.
        dimensions: Registers of dimensions by the name that the host knows.
        caches: KV caches that several stages use.
        linked: Rooms of outputs that later stages read, by `ENTRY/OUTPUT`.
    """

    near_bank: NearBank
    rooms: HostRooms
    constants: Constants
    dimensions: dict[str, int] = field(default_factory=dict[str, int])
    caches: SharedCaches = field(default_factory=SharedCaches)
    linked: dict[str, LinkedRoom] = field(default_factory=dict[str, LinkedRoom])


class EntryBuilder:
    """One attempt to lower a stage; every attribute is a part of it."""

    def __init__(self, stage: Stage, machine: Machine, rows: RowMap, spill: Spill, shared: Shared) -> None:
        self.stage, self.machine, self.rows, self.spill, self.shared = stage, machine, rows, spill, shared
        self.graph, self.options, self.near_bank = stage.graph, stage.options, shared.near_bank
        self.placement: Placement = self.graph.facts["place_weights"]
        self.key_masks = input_masks(self.graph)
        self.schedule = make_schedule(self.graph, rows, self.key_masks)
        self.emitter = Emitter()
        self.host = HostRegisters(*(self.emitter.register() for _ in range(4)))
        self.lengths = find_lengths(
            self.graph, rows, self.schedule, self.host, self.emitter, self.options, shared.dimensions
        )
        self.allocator = shared.constants.allocator
        unit = self.near_bank.channels * self.near_bank.banks
        self.storage = Storage(self.lengths.extents, self.allocator, rows, unit, self.lengths.tokens)
        self.storage.constants = shared.constants
        self.rooms = shared.rooms.of_entry(stage.entry)

    def place_constants(self) -> None:
        """Put what the graph reads from the shared buffer, but does not write, into the room that all stages share."""
        for node in self.graph.nodes:
            if is_token_integer(self.rows, node.output):
                continue
            for position, value in enumerate(node.inputs):
                if value is not None and value.is_constant and not _in_banks(node, position):
                    self.storage.constants.place(value)
        for value in self.graph.outputs.values():
            self.storage.constants.place(value)
        self.mask_bounds = self._place_mask_bounds() if any(map(_may_exclude, self.graph.nodes)) else None

    def _place_mask_bounds(self) -> MaskBounds:
        add = self.storage.constants.add
        least_maximum = add(np.array([LEAST_MAXIMUM], np.float32), "the least maximum of a masked row")
        return MaskBounds(least_maximum, add(np.array([LEAST_SUM], np.float32), "the least sum of a softmax"))

    def reserve_output(self, name: str) -> None:
        """Give an output that later stages read a room that no stage uses for itself."""
        value = self.graph.outputs[name]
        own, size = self.rows.rows.get(value), self.storage.row_room(value)
        words = max(size * (1 if own is None else self.storage.rows_of(own)), 1)
        word = self.allocator.allocate(words, f"the output '{name}'")
        room = LinkedRoom(word, words, self.storage.whole_strides(value, size))
        self.shared.linked[f"{self.stage.entry}/{name}"] = room

    def use_allocator(self, allocator: BufferAllocator) -> None:
        """Take rooms from now on from another view of the shared buffer."""
        self.allocator = self.storage.allocator = allocator

    def place(self) -> None:
        """Reserve rooms for inputs, masks, caches and outputs."""
        self._place_inputs()
        masks = self._place_masks()
        caches = place_caches(
            self.graph,
            self.machine,
            self.near_bank,
            self.end_of_banks(),
            self.lengths.caches,
            self.rooms,
            self.shared.caches,
        )
        self.inputs_end = self.allocator.peak_words
        self.outputs = self._place_outputs()
        self.outputs_end = self.allocator.peak_words
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
            "bfloat16" if self.options.numerics == "machine" else "copy",
            masks,
            self.mask_bounds,
        )

    def _place_inputs(self) -> None:
        sources = {name: self.shared.linked[output] for name, output in self.stage.links.items()}
        self.storage.most_keys = {source: self.lengths.mask_words(source) for source in self.key_masks.values()}
        symbols = place_inputs(self.graph, self.storage, self._masked_keys(), sources)
        for value, symbol in zip(self.graph.inputs, symbols, strict=True):
            filled_by = self.stage.links.get(value.name, "")
            self.rooms.add_port(self.graph, value.name, "input", str(symbol.layout["kind"]), symbol, filled_by)

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
            word = self.allocator.allocate(sequences * keys, "a key mask")
            masks[value] = KeyMask(word, row, self.key_masks.get(value))
        return masks

    def _place_outputs(self) -> dict[str, Symbol]:
        if self.spill is Spill.ALL:
            first, chunk = self.end_of_banks(), self.lengths.chunk
            symbols = spill_outputs(self.graph, self.storage, self.near_bank, first, chunk, self.rooms)
        else:
            prefix = f"{self.stage.entry}/"
            linked = {name.removeprefix(prefix): room.word for name, room in self.shared.linked.items()}
            symbols = place_outputs(self.graph, self.storage, linked)
        for name, symbol in symbols.items():
            self.rooms.add_port(self.graph, name, "output", str(symbol.layout["kind"]), symbol)
        return symbols

    def end_of_banks(self) -> int:
        """First linear column behind all regions of the banks."""
        ends = (region.address + region.size for region in self.rooms.regions if region.space == "bank")
        return max(ends, default=0)

    def emit(self, largest: Mapping[str, int]) -> Code:
        """Emit all code; `largest` are the bounds of the program's registers by name."""
        self.entries = self._entries(largest)
        spills = self.spill is not Spill.NONE
        first = self.end_of_banks() if spills else None
        crossing = Crossing(self.low, self.schedule.phases, first, _read_whole(self.graph, self.rows))
        self._copy_linked()
        TokenLoop(self.low, self.schedule.phases, self.outputs, self.rooms.spilled, crossing).emit()
        self.emitter.emit("halt")
        if crossing.columns:
            first = self.end_of_banks()
            total = first + crossing.columns
            check_columns(self.near_bank, self.placement.columns, total, self.options.max_context)
            name = self.rooms.named("spilled_values")
            self.rooms.regions.append(Region(name, "bank", first, crossing.columns, "scratch"))
        self._unused_ports()
        emitter = self.emitter
        code = Code(tuple(emitter.code), tuple(emitter.debug), tuple(emitter.sources))
        return roll_loops(open_ahead(code)) if self.options.optimize else code

    def _entries(self, largest: Mapping[str, int]) -> dict[str, Entry]:
        others = tuple(symbol.name for symbol in self.lengths.others)
        mask = ("masked",) if self.key_masks else ()
        if self.stage.entry:
            return {self.stage.entry: self._only_entry((*mask, *others), largest)}
        if self.lengths.has_decode:
            decode = Entry("decode", 0, ("kv_length", *mask, *others))
            self._begin_single()
            registers = ("kv_length", "token_count", "first_output", *mask, *others)
            return {"decode": decode, "prefill": Entry("prefill", len(self.emitter.code), registers)}
        main = ("kv_length", "token_count") if self.rows.main is not None else ()
        return {"encode": Entry("encode", 0, (*main, *mask, *others))}

    def _begin_single(self) -> None:
        """Begin a run of one token, whose outputs are wanted."""
        self.emitter.emit("li", self.host.token_count, 1)
        self.emitter.emit("li", self.host.first_output, 0)

    def _only_entry(self, others: tuple[str, ...], largest: Mapping[str, int]) -> Entry:
        """The entry of a stage, which may have smaller bounds than the program; `decode` takes one token."""
        name = self.stage.entry
        is_single = name == "decode" and self.lengths.has_decode
        own = {symbol.name: symbol for symbol in self.registers()}
        asked = [each for each in ("kv_length", "token_count", "first_output") if each in own]
        if is_single:
            self._begin_single()
            asked = ["kv_length"]
        elif not self.lengths.has_past and "kv_length" in own:
            self.emitter.emit("li", self.host.kv_length, 0)
            asked.remove("kv_length")
        for register in (own[each] for each in asked if own[each].high < largest[each]):
            self.emitter.emit("min", register.register, register.register, register.high)
        return Entry(name, 0, (*asked, *others))

    def _copy_linked(self) -> None:
        """Bring what an earlier stage left into the layout in which this one reads it."""
        for name, output in self.stage.links.items():
            value = next((value for value in self.graph.inputs if value.name == name), None)
            if value is None:
                continue
            room, own = self.shared.linked[output], self.storage.view(value)
            if own.words != Words(room.word):
                source = View(Words(room.word), value.shape, room.strides)
                with self.emitter.origin(Source(name)):
                    self.low.copy_view(own, source)

    def registers(self) -> tuple[RegisterSymbol, ...]:
        """Registers that the host sets."""
        symbols: list[RegisterSymbol] = []
        if self.rows.main is not None:
            cached = self.options.max_context - 1 if self.lengths.has_past else 0
            least, most = self.lengths.least_run, self.lengths.chunk
            symbols += [
                RegisterSymbol("kv_length", self.host.kv_length, 0, cached, "tokens in the KV cache"),
                RegisterSymbol("token_count", self.host.token_count, least, most, "valid tokens of this run"),
            ]
        if self.lengths.has_decode:
            meaning = "first token of this run whose outputs are wanted"
            symbols.append(RegisterSymbol("first_output", self.host.first_output, 0, self.lengths.chunk, meaning))
        if self.key_masks:
            meaning = "1 when the key mask excludes a position"
            symbols.append(RegisterSymbol("masked", self.host.masked, 0, 1, meaning))
        return (*symbols, *self.lengths.others)

    @property
    def context_limit(self) -> int | None:
        """Most tokens of a run and the cache together, `None` when the graph has no tokens."""
        return None if self.rows.main is None else max(self.options.max_context, self.lengths.chunk)

    def facts(self) -> dict[str, object]:
        """What the host must know about the entries, as JSON values."""
        blocks = block_facts(self.graph)
        return {
            "chunk": self.lengths.chunk,
            "symbols": self.lengths.symbols,
            "tokens": "1" if self.rows.main is None else str(self.rows.main.tokens),
            "spilled": self.spill.value,
            **self._cache_facts(),
            **self._x_cache(),
            **({"blocks": blocks} if blocks else {}),
        }

    def _cache_facts(self) -> dict[str, object]:
        """What caches do when one of them compresses, and those whose keys are signs in the CAM once more."""
        caches = self.graph.caches.values()
        searched = [cache_facts(cache) for cache in caches if attention_unit(self.graph, cache) == "cam"]
        return {
            **({"compressed_cache": [*map(cache_facts, caches)]} if any(each.is_compressed for each in caches) else {}),
            **({"searched_cache": searched} if searched else {}),
        }

    def _x_cache(self) -> dict[str, object]:
        """Shapes that the model gives to inputs and outputs of caches that hold X instead of keys and values."""
        shapes = self.graph.facts.get("decompose_attention", {}).get("x_cache")
        return {"x_cache": shapes} if shapes else {}

    def _unused_ports(self) -> None:
        """Inputs that no result depends on stay in the signature; the host accepts and ignores them."""
        known = {port.name for port in self.rooms.ports if port.entry == self.stage.entry}
        for name in self.graph.signature:
            if name not in known:
                self.rooms.add_port(self.graph, name, "input", "ignored", None)


def near_bank_of(machine: Machine) -> NearBank:
    """Units beside the banks; raises `ResourceLimitError` when the machine has none."""
    if machine.near_bank is None:
        raise ResourceLimitError(f"the machine '{machine.name}' has no near-bank units to compile for")
    return machine.near_bank


def _may_exclude(node: Node) -> bool:
    """Whether the node is an attention that a mask or a bias may leave without any key."""
    return node.op == "cached_attention" and (node.optional(3) is not None or node.optional(4) is not None)


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
