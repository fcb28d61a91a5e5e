"""Values that one phase computes for all tokens and later phases read, in the shared buffer or spilled to the banks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from passes import Value
from pimc.backend.emitter import Words
from pimc.backend.lowering import Lowering
from pimc.backend.rooms.storage import Room
from pimc.backend.rooms.token_rows import TokenRows, row_columns
from pimc.backend.rows.row_axes import is_token_integer
from pimc.backend.rows.schedule import Phase, Step, step_operands


@dataclass(frozen=True)
class _Read:
    """An operand of a step.

    Attributes:
        phase: Number of the step's phase.
        position: Place among all operands of the phase.
        value: The operand.
    """

    phase: int
    position: int
    value: Value


@dataclass
class Crossing:
    """Values that cross from phase to phase, and where they are meanwhile.

    Attributes:
        low: State of the lowering.
        phases: The schedule.
        first_column: First free linear column of the banks, `None` to keep everything in the shared buffer.
        read_whole: Row values that are read as whole tensors, and so stay in the shared buffer.
        columns: Linear columns taken so far for spilled values.
    """

    low: Lowering
    phases: Sequence[Phase]
    first_column: int | None
    read_whole: frozenset[Value]
    columns: int = 0
    _arrays: dict[Value, Room] = field(default_factory=dict[Value, Room])
    _rows: dict[Value, TokenRows] = field(default_factory=dict[Value, TokenRows])
    _pinned: set[Value] = field(default_factory=set[Value])
    _last_phase: dict[Value, int] = field(default_factory=dict[Value, int])
    _reads: dict[Value, list[_Read]] = field(default_factory=dict[Value, "list[_Read]"])

    def __post_init__(self) -> None:
        """Note who reads what, so that a phase only looks at the readers of what it leaves behind."""
        for number, phase in enumerate(self.phases):
            operands = (value for step in phase.steps for value in step_operands(step))
            for position, value in enumerate(operands):
                self._reads.setdefault(value, []).append(_Read(number, position, value))

    def begin_phase(self, number: int) -> None:
        """Make room for what this phase computes and later ones read."""
        storage = self.low.storage
        results = [value for step in self.phases[number].steps for value in _results(step)]
        own = {storage.root(value) for value in results}
        reads = self._later_reads(number, {*own, *self._arrays, *self._rows})
        self._pinned = {self._view(read.value) for read in reads if read.value in self.read_whole}
        for read in reads:
            value = self._view(read.value)
            if storage.root(value) in own and not storage.is_kept(storage.root(value)):
                self._reserve(value)
            for link in storage.links(read.value):
                if link in self._arrays or link in self._rows or link in own:
                    self._last_phase[link] = read.phase
        tensors = {value for value in own if value in self._last_phase and value not in storage.map.rows}
        storage.held |= {value for value in tensors if not storage.is_kept(value)}
        for value, room in self._arrays.items():
            if storage.root(value) is value and value in own:
                storage.keep(value, room)

    def before_step(self, step: Step) -> None:
        """Load spilled operands that are not in the shared buffer yet, also of an addition that a product takes in."""
        storage = self.low.storage
        operands = step_operands(step)
        if storage.row is None:
            return
        add = self.low.later_user(step.node.output) if step.node.op in ("linear", "feed_forward") else None
        if add is not None and add.op == "add":
            operands += [value for value in add.inputs if value is not None and value is not step.node.output]
        for value in map(self._view, operands):
            if value in storage.anchors and value in self._rows and not storage.has_room(value):
                self._rows[value].load(self.low, storage.define(value).words)

    def after_step(self, step: Step) -> None:
        """Put views of what the step computed into their arrays, or spill them."""
        storage = self.low.storage
        results = _results(step)
        for value in results:
            room = self._arrays.get(value)
            if room is not None and value not in storage.anchors and storage.row is not None:
                view = storage.view(value)
                own = storage.map.rows[value]
                register = storage.offset_register("row" if own.batch is not None else "token", room.size)
                target = self.low.dense(view, Words(room.word, register))
                if view.words != target.words:
                    self.low.copy_view(target, view)
        for value in results:
            rows = self._rows.get(value)
            if rows is not None and value not in storage.anchors:
                with self.low.contiguous(storage.view(value)) as words:
                    rows.store(self.low, words)

    def end_phase(self, number: int) -> None:
        """Let later phases see the new rooms, and release those that no later phase reads."""
        storage = self.low.storage
        for value in (*self._arrays, *self._rows):
            storage.anchors.add(value)
        for value, room in self._arrays.items():
            if not storage.is_kept(value):
                storage.keep(value, room)
        for value in [value for value in storage.held if self._last_phase[value] == number]:
            storage.held.discard(value)
            storage.forget(value)
        for value in [value for value in self._arrays if self._last_phase[value] == number]:
            room = self._arrays.pop(value)
            storage.forget(value)
            storage.allocator.release(room.word, room.size * storage.rows_of(storage.map.rows[value]))

    def _later_reads(self, number: int, sources: Collection[Value]) -> list[_Read]:
        """Reads of values, and of views of them, by phases after phase `number`, in the order of the schedule."""
        waiting, seen = list(sources), set(sources)
        reads: list[_Read] = []
        while waiting:
            value = waiting.pop()
            reads += [read for read in self._reads.get(value, ()) if read.phase > number]
            results = (result for node in value.users if node.inputs[0] is value for result in node.outputs)
            views = [result for result in results if result not in seen and self.low.storage.is_view(result)]
            seen.update(views)
            waiting += views
        return sorted(reads, key=lambda read: (read.phase, read.position))

    def _view(self, value: Value) -> Value:
        """The value itself, or what it is only another name of."""
        storage = self.low.storage
        return storage.root(value) if storage.is_whole(value) and value in storage.map.rows else value

    def _reserve(self, value: Value) -> None:
        storage = self.low.storage
        own = storage.map.rows.get(value)
        if value in self._arrays or value in self._rows or own is None or is_token_integer(storage.map, value):
            return
        if self.first_column is None or value in self._pinned:
            size = storage.room_words(value)
            word = storage.allocator.allocate(size * storage.rows_of(own), f"the value '{value.name}' of all tokens")
            self._arrays[value] = Room(word, size, True)
            return
        rows = TokenRows(self.first_column + self.columns, row_columns(self.low.near_bank, storage.part_words(value)))
        self._rows[value] = rows
        count = storage.tokens[own.space] * own.space.batch
        self.columns += rows.columns * -(-count // self.low.near_bank.banks)


def _results(step: Step) -> list[Value]:
    return [] if step.part == "append" else list(step.node.outputs)
