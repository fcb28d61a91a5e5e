"""Where values live in the shared buffer, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod

from isa import Indexed
from passes import Dim, Node, Value
from pimc.backend.emitter import Words
from pimc.backend.extents import Extents
from pimc.backend.offset_registers import CurrentRow, OffsetRegisters
from pimc.backend.rooms.constants import Constants
from pimc.backend.rooms.shared_buffer import COLUMN_WORDS, BufferAllocator
from pimc.backend.rooms.views import VIEWS, View, derived_view, row_major
from pimc.backend.rows.row_axes import RowAxes, RowMap, Space
from pimc.backend.rows.schedule import Phase, step_operands


@dataclass(frozen=True)
class Room:
    """Words that hold a value.

    Attributes:
        word: First word.
        size: Words of one row's part, or of the whole tensor, padded.
        per_row: Whether there is a part for every row of the run (`size` words apart).
    """

    word: int
    size: int
    per_row: bool = False


@dataclass
class Storage:
    """Rooms of all values, allocated when they are computed and released after their last use.

    Attributes:
        extents: Lengths; its emitter receives the instructions that compute offsets of rows.
        allocator: The shared buffer.
        map: What works row by row.
        unit: Rooms of products are multiples of this many words, what one accumulator of all banks and channels covers.
        tokens: For each space the most tokens of a sequence in one run.
        constants: Read-only values.
        offsets: Where the parts of the current row lie.
        anchors: Values that earlier phases have put into rooms of their own; views of larger values until then.
        held: Whole tensors that a later phase reads.
        most_keys: For each input that is a key mask the most keys of a sequence, which may come in several runs.
    """

    extents: Extents
    allocator: BufferAllocator
    map: RowMap
    unit: int
    tokens: dict[Space, int]
    constants: Constants = field(init=False)
    offsets: OffsetRegisters = field(init=False)
    anchors: set[Value] = field(default_factory=set[Value])
    held: set[Value] = field(default_factory=set[Value])
    most_keys: dict[Value, int] = field(default_factory=dict[Value, int])
    _rooms: dict[Value, Room] = field(default_factory=dict[Value, Room])
    _uses: dict[Value, list[int]] = field(default_factory=dict[Value, list[int]])
    _ends: dict[int, list[Value]] = field(default_factory=dict[int, list[Value]])
    _views: dict[Value, View | None] = field(default_factory=dict[Value, "View | None"])
    _step: int = 0
    _kept: set[Value] = field(default_factory=set[Value])

    def __post_init__(self) -> None:
        self.constants = Constants(self.allocator)
        self.offsets = OffsetRegisters(self.extents.emitter, self.tokens)

    @property
    def row(self) -> CurrentRow | None:
        """The current row, inside a loop over rows."""
        return self.offsets.row

    def padded(self, words: int) -> int:
        """`words` rounded up to the unit."""
        return -(-words // self.unit) * self.unit

    def room_words(self, value: Value) -> int:
        """Words of one row's part, or of the whole tensor, padded for products that read or write it."""
        words = self.part_words(value)
        nodes = [value.producer, *value.users]
        by_rows = value in self.map.rows
        whole = by_rows and any(node is not None and node.op in ("linear", "feed_forward", "add") for node in nodes)
        return self.padded(words) if whole else max(-(-words // COLUMN_WORDS) * COLUMN_WORDS, COLUMN_WORDS)

    def strides(self, value: Value) -> tuple[int, ...]:
        """Strides of a value in a room of its own: row after row, dynamic axes at their largest size."""
        return row_major(self._capacities(value))

    def _capacities(self, value: Value) -> tuple[int, ...]:
        """Largest sizes of the value's part; those of a key mask count the keys of all runs."""
        sizes = tuple(self.extents.capacity(dim) for dim in self._shape(value))
        is_longer = value in self.most_keys and value not in self.map.rows
        return (*sizes[:-1], self.most_keys[value]) if is_longer else sizes

    def row_room(self, value: Value) -> int:
        """Words of one row's part, or of the whole tensor, for an input or an output."""
        return self.padded(self.part_words(value)) if value in self.map.rows else self.room_words(value)

    def rows_of(self, own: RowAxes) -> int:
        """Rows for which a value with these axes has a part."""
        return self.tokens[own.space] * (own.space.batch if own.batch is not None else 1)

    def whole_strides(self, value: Value, size: int) -> tuple[int, ...]:
        """Strides along all axes of a value in a room of its own, whose rows are `size` words apart."""
        own, strides = self.map.rows.get(value), list(self.strides(value))
        if own is not None:
            strides[own.token] = size
            if own.batch is not None:
                strides[own.batch] = size * self.tokens[own.space]
        return tuple(strides)

    def root(self, value: Value) -> Value:
        """The value that owns the words of `value`."""
        for link in self.links(value):
            value = link
        return value

    def links(self, value: Value) -> Iterator[Value]:
        """The value, and whatever it is a view of, up to its owner."""
        yield value
        while self.is_view(value):
            assert value.producer is not None
            value = value.producer.operand(0)
            yield value

    def is_view(self, value: Value) -> bool:
        """Whether the value is another view of an operand, so that nothing is computed for it."""
        return value.producer is not None and value not in self.anchors and self._derived(value) is not None

    def _derived(self, value: Value) -> View | None:
        """The layout of a value as a view of its root, at word 0 of it; `None` when it has words of its own."""
        if value not in self._views:
            self._views[value] = self._derive(value)
        return self._views[value]

    def _derive(self, value: Value) -> View | None:
        node = value.producer
        if node is None or node.op not in VIEWS:
            return None
        operand = node.operand(0)
        if operand in self.map.rows and value not in self.map.rows and self.map.rows[operand].is_uneven:
            return None
        below = None if operand in self.anchors else self._derived(operand)
        view = below if below is not None else self._own_view(operand)
        return derived_view(node, value, self._shaped(view, operand, value), self._shape(value))

    def _shape(self, value: Value) -> tuple[Dim, ...]:
        return self.map.part_shape(value)

    def _shaped(self, view: View, operand: Value, value: Value) -> View:
        """A row value that a node on whole tensors reads shows its rows."""
        if operand in self.map.rows and value not in self.map.rows:
            return self._with_rows(view, operand)
        return view

    def _with_rows(self, view: View, operand: Value) -> View:
        own = self.map.rows[operand]
        strides = list(view.strides)
        size = self._row_words(self.root(operand))
        strides[own.token] = size
        if own.batch is not None and not own.is_merged:
            strides[own.batch] = size * self.tokens[own.space]
        return View(view.words, operand.shape, tuple(strides))

    def _row_words(self, owner: Value) -> int:
        """Words from one row's part to the next."""
        room = self._rooms.get(owner)
        return room.size if room is not None and room.per_row else self.room_words(owner)

    def _own_view(self, value: Value) -> View:
        if value.is_constant:
            return View(Words(0), value.shape, row_major([int(str(dim)) for dim in value.shape]))
        return View(Words(0), self._shape(value), self.strides(value))

    def has_room(self, value: Value) -> bool:
        """Whether the value has been computed (or is an input or a constant)."""
        owner = self.root(value)
        return owner.is_constant or owner in self._rooms

    def is_kept(self, value: Value) -> bool:
        """Whether the value has a room that outlives its phase."""
        return value in self._kept

    def is_row(self, value: Value) -> bool:
        """Whether the value has a part for the current row, instead of being a whole tensor to it."""
        own = self.map.rows.get(value)
        return own is not None and self.row is not None and own.space == self.row.space

    def view(self, value: Value) -> View:
        """Where the elements of the value are: of its part for the current row, or of the whole tensor."""
        owner = self.root(value)
        derived = None if value is owner else self._derived(value)
        layout = derived if derived is not None else self._own_view(value)
        if owner.is_constant:
            return layout.at(self.constants.word(owner))
        room = self._rooms[owner]
        if not room.per_row:
            return View(Words(room.word + layout.words.word), layout.shape, layout.strides)
        if not self.is_row(value):
            shown = layout if value not in self.map.rows else self._with_rows(layout, value)
            return View(Words(room.word + layout.words.word), shown.shape, shown.strides)
        return View(Words(room.word + layout.words.word, self._row_offset(owner, room)), layout.shape, layout.strides)

    def _row_offset(self, owner: Value, room: Room) -> int:
        own = self.map.rows[owner]
        return self.offset_register("row" if own.batch is not None else "token", room.size)

    def aligned(self, value: Value, node: Node) -> View:
        """The view of an operand; the current row's part of a whole tensor that lines up with the result's rows."""
        view = self.view(value)
        if self.row is None or self.is_row(value):
            return view
        own = self.map.rows[node.output]
        shift = node.output.type.rank - view.rank
        for axis, kind in ((own.token, "token"), (own.batch, "sequence")):
            place = -1 if axis is None else axis - shift
            if place < 0 or view.shape[place] == 1 or (own.is_merged and kind == "token"):
                continue
            view = self.offsets.part(view, place, kind)
        return view

    def row_part(self, value: Value) -> View:
        """The current row's part of features [batch, tokens, ...], also of a whole tensor."""
        view = self.view(value)
        if self.is_row(value) or self.row is None:
            return view
        for axis, kind in ((1, "token"), (0, "sequence")):
            if view.shape[axis] != 1:
                view = self.offsets.part(view, axis, kind)
        return view

    def bias_row(self, value: Value) -> View:
        """The current row's part of a bias [batch, heads, tokens, keys]."""
        view = self.view(value)
        for axis, kind in ((2, "token"), (0, "sequence")):
            if view.shape[axis] != 1:
                view = self.offsets.part(view, axis, kind)
        return view

    def element(self, view: View, axis: int, register: int) -> View:
        """The view without an axis, at the element of that axis that a register says; see `release_element`."""
        rest, stride = view.without(axis), view.strides[axis]
        if view.shape[axis] == 1 or stride == 0:
            return rest
        offset = self.extents.emitter.scalar("mul", register, stride)
        if view.words.register is not None:
            self.extents.emitter.emit("add", offset, offset, Indexed(0, view.words.register))
        return View(Words(view.words.word, offset), rest.shape, rest.strides)

    def release_element(self, element: View, view: View) -> None:
        """Give the register back that `element` took for a part of `view`."""
        if element.words.register is not None and element.words.register != view.words.register:
            self.extents.emitter.release(element.words.register)

    def words(self, value: Value) -> Words:
        """First word of a value whose elements lie side by side."""
        return self.view(value).words

    def define(self, value: Value) -> View:
        """Make room for a value that is about to be computed, unless `keep` did so before."""
        if value not in self._rooms:
            size = self.room_words(value)
            self._rooms[value] = Room(self.allocator.allocate(size, f"the value '{value.name}'"), size)
        return self.view(value)

    def keep(self, value: Value, room: Room) -> None:
        """Give a value a room that lives until `forget`."""
        self._rooms[value] = room
        self._kept.add(value)

    def free_words(self, value: Value) -> int:
        """Words of the value's room from its first word on; 0 for a part of a larger value, whose neighbour lives."""
        room = self._rooms.get(self.root(value))
        is_own = self.row is None or self.is_row(value)
        return room.size if room is not None and is_own and self.is_whole(value) else 0

    def is_whole(self, value: Value) -> bool:
        """Whether the value is its owner under another shape."""
        owner = self.root(value)
        if owner is value:
            return True
        view = self._derived(value)
        same_size = self.part_words(owner) == self.part_words(value)
        return view is not None and view.words == Words(0) and same_size and view.is_contiguous

    def part_words(self, value: Value) -> int:
        """Words of the value's part (at its largest), without padding."""
        return prod(self._capacities(value))

    def capacity_words(self, view: View) -> int:
        """Words of the elements of a view side by side, dynamic axes at their largest size."""
        words = 1
        for dim in view.shape:
            words *= self.extents.capacity(dim)
        return words

    def take_over(self, value: Value, heir: Value) -> bool:
        """Let `heir` have the room of `value` when nothing else will use it; returns whether that was possible."""
        owner = self.root(value)
        room = self._rooms.get(owner)
        if room is None or room.per_row or heir in self._rooms or not self.is_whole(value):
            return False
        if owner in self._kept or owner in self.held or room.size != self.room_words(heir):
            return False
        defined = min(self._uses[heir])
        if any(use > self._step and use != defined for use in self._uses[owner]):
            return False
        self._rooms[heir] = self._rooms.pop(owner)
        return True

    def forget(self, value: Value) -> None:
        """Release the room of a value."""
        room = self._rooms.pop(value)
        self._kept.discard(value)
        if not room.per_row:
            self.allocator.release(room.word, room.size)

    def begin_phase(self, phase: Phase, row: CurrentRow | None) -> None:
        """Start a phase: note when each value is used for the last time."""
        self.offsets.begin(row)
        self._uses, self._ends = {}, {}
        self._views = {}
        self._step = 0
        for position, step in enumerate(phase.steps):
            results = [] if step.part == "append" else step.node.outputs
            for value in (*step_operands(step), *results):
                self._uses.setdefault(self.root(value), []).append(position)
        for value, positions in self._uses.items():
            self._ends.setdefault(positions[-1], []).append(value)

    def end_step(self) -> None:
        """Release what no later step of the phase uses, and go to the next step."""
        for value in self._ends.get(self._step, ()):
            if value in self._rooms and value not in self._kept and value not in self.held:
                self.forget(value)
        self._step += 1

    def end_phase(self) -> None:
        """End a loop over rows: offset registers are free again."""
        self.offsets.forget()
        self._views = {}
        self.offsets.begin(None)

    def offset_register(self, kind: str, stride: int) -> int:
        """Register of the current row's index times `stride` words; see `OffsetRegisters.of_index`."""
        return self.offsets.of_index(kind, stride)

    @contextmanager
    def scratch(self, size: int, purpose: str, levers: str = "lower --max-context") -> Iterator[Words]:
        """Words for the time of the block; `levers` say what makes them fewer."""
        padded = -(-size // COLUMN_WORDS) * COLUMN_WORDS
        word = self.allocator.allocate(padded, purpose, levers)
        yield Words(word)
        self.allocator.release(word, padded)
