"""Values that one phase computes for all tokens and later phases read, in the shared buffer or spilled to the banks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from passes import Value
from pimc.backend.emitter import Words
from pimc.backend.lowering import Lowering
from pimc.backend.schedule import Phase, Step, step_operands
from pimc.backend.storage import Room
from pimc.backend.token_rows import TokenRows, row_columns


@dataclass
class Crossing:
    """Values that cross from phase to phase, and where they are meanwhile.

    Attributes:
        low: State of the lowering.
        phases: The schedule.
        tokens: Tokens of a run at most.
        first_column: First free linear column of the banks, `None` to keep everything in the shared buffer.
        columns: Linear columns taken so far for spilled values.
    """

    low: Lowering
    phases: Sequence[Phase]
    tokens: int
    first_column: int | None
    columns: int = 0
    _arrays: dict[Value, Room] = field(default_factory=dict[Value, Room])
    _rows: dict[Value, TokenRows] = field(default_factory=dict[Value, TokenRows])
    _last_phase: dict[Value, int] = field(default_factory=dict[Value, int])

    def begin_phase(self, number: int) -> None:
        """Make room for what this phase computes and later ones read."""
        storage = self.low.storage
        own = {storage.root(value)[0] for step in self.phases[number].steps for value in _results(step)}
        for later in range(number + 1, len(self.phases)):
            for value in (self._view(v) for step in self.phases[later].steps for v in step_operands(step)):
                if storage.root(value)[0] in own and not storage.is_kept(storage.root(value)[0]):
                    self._reserve(value)
                if value in self._arrays or value in self._rows:
                    self._last_phase[value] = later
        for value, room in self._arrays.items():
            if storage.root(value)[0] is value and value in own:
                storage.keep(value, room)

    def before_step(self, step: Step) -> None:
        """Load spilled operands that are not in the shared buffer yet, also of an addition that a product takes in."""
        storage = self.low.storage
        operands = step_operands(step)
        add = self.low.later_user(step.node.output) if step.node.op in ("linear", "feed_forward") else None
        if add is not None and add.op == "add":
            operands += [value for value in add.inputs if value is not None and value is not step.node.output]
        for value in map(self._view, operands):
            if value in storage.anchors and value in self._rows and not storage.has_room(value):
                self._rows[value].load(self.low, storage.define(value))

    def after_step(self, step: Step) -> None:
        """Put views of what the step computed into their arrays, or spill them."""
        storage = self.low.storage
        for value, room in self._arrays.items():
            if value not in storage.anchors and storage.root(value)[0] in _results(step):
                target = Words(room.word, storage.offset_register(room.size))
                if storage.words(value) != target:
                    self.low.copy(target, storage.words(value), storage.axes.words(value))
        for value, rows in self._rows.items():
            if value not in storage.anchors and storage.root(value)[0] in _results(step):
                rows.store(self.low, storage.words(value))

    def end_phase(self, number: int) -> None:
        """Let later phases see the new rooms, and release those that no later phase reads."""
        storage = self.low.storage
        for value in (*self._arrays, *self._rows):
            storage.anchors.add(value)
        for value, room in self._arrays.items():
            if not storage.is_kept(value):
                storage.keep(value, room)
        for value in [value for value in self._arrays if self._last_phase[value] == number]:
            room = self._arrays.pop(value)
            storage.forget(value)
            storage.allocator.release(room.word, room.size * self.tokens)

    def _view(self, value: Value) -> Value:
        """The value itself, or what it is only another name of."""
        storage = self.low.storage
        root, offset = storage.root(value)
        return root if not offset and storage.axes.words(root) == storage.axes.words(value) else value

    def _reserve(self, value: Value) -> None:
        storage = self.low.storage
        if value in self._arrays or value in self._rows or value in storage.axes.key_masks:
            return
        if self.first_column is None:
            size = storage.room_words(value)
            word = storage.allocator.allocate(size * self.tokens, f"the value '{value.name}' of all tokens")
            self._arrays[value] = Room(word, size, True)
            return
        rows = TokenRows(self.first_column + self.columns, row_columns(self.low.near_bank, storage.axes.words(value)))
        self._rows[value] = rows
        self.columns += rows.columns * -(-self.tokens // self.low.near_bank.banks)


def _results(step: Step) -> list[Value]:
    return [] if step.part == "append" else list(step.node.outputs)
