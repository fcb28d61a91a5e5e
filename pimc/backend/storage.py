"""Where the values of a phase live in the shared buffer, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from passes import Node, Value
from pimc.backend.emitter import Emitter, Words
from pimc.backend.schedule import Phase, step_operands
from pimc.backend.shared_buffer import BufferAllocator
from pimc.backend.token_axes import TokenAxes

_COLUMN_WORDS = 16
"""Every room is a multiple of this many words, so that a transfer of whole columns stays inside it."""

Constant = tuple[str, int, NDArray[np.uint32]]
"""Name, first word and raw words of a constant in the shared buffer."""


@dataclass(frozen=True)
class Room:
    """Words that hold a value.

    Attributes:
        word: First word.
        size: Words of one token's part, padded.
        per_token: Whether there is a part for every token of the run (`size` words apart), or one that is reused.
    """

    word: int
    size: int
    per_token: bool


def alias(node: Node, value: Value, axes: TokenAxes) -> tuple[Value, int] | None:
    """(operand, offset) when `value`, a result of `node`, is a contiguous part of one token's part of the operand."""
    if node.op in ("reshape", "identity"):
        return node.operand(0), 0
    if node.op == "cast":
        same_words = node.operand(0).type.dtype.startswith(("float", "bfloat")) and value.type.dtype.startswith("float")
        return (node.operand(0), 0) if same_words else None
    if node.op == "transpose":
        order = [axis for axis in node.attributes["perm"] if node.operand(0).shape[axis] != 1]
        return (node.operand(0), 0) if _keeps_order(order, axes.axes.get(node.operand(0))) else None
    if node.op not in ("split", "slice"):
        return None
    axis = int(node.attributes["axis"]) % value.type.rank
    token_axis = axes.axes.get(value)
    outer = [dim for position, dim in enumerate(value.shape[:axis]) if position != token_axis]
    if any(dim != 1 for dim in outer):
        return None
    inner = 1
    for position, dim in enumerate(value.shape[axis + 1 :], start=axis + 1):
        inner *= dim if isinstance(dim, int) and position != token_axis else 1
    if node.op == "slice":
        return (node.operand(0), int(node.attributes["start"]) * inner) if node.attributes["step"] == 1 else None
    place = node.outputs.index(value)
    return node.operand(0), sum(int(size) for size in node.attributes["sizes"][:place]) * inner


def _keeps_order(order: list[int], token_axis: int | None) -> bool:
    rest = [axis for axis in order if axis != token_axis]
    return rest == sorted(rest)


@dataclass
class Storage:
    """Rooms of all values, allocated when they are computed and released after their last use.

    Attributes:
        emitter: Receives the instructions that compute per-token offsets.
        allocator: The shared buffer.
        axes: Token axes.
        unit: Every room is a multiple of this many words, what one accumulator of all banks and channels covers.
        constants: (name, first word, raw words) of constants placed so far.
        token: Register of the token's index in the run, inside a phase.
        anchors: Values that earlier phases have put into rooms of their own; views of larger values until then.
    """

    emitter: Emitter
    allocator: BufferAllocator
    axes: TokenAxes
    unit: int
    constants: list[Constant] = field(default_factory=list[Constant])
    token: int | None = None
    anchors: set[Value] = field(default_factory=set[Value])
    _rooms: dict[Value, Room] = field(default_factory=dict[Value, Room])
    _constant_words: dict[Value, int] = field(default_factory=dict[Value, int])
    _row_words: dict[Value, int] = field(default_factory=dict[Value, int])
    _offsets: dict[int, int] = field(default_factory=dict[int, int])
    _uses: dict[Value, list[int]] = field(default_factory=dict[Value, list[int]])
    _step: int = 0
    _kept: set[Value] = field(default_factory=set[Value])

    def padded(self, words: int) -> int:
        """`words` rounded up to the unit."""
        return -(-words // self.unit) * self.unit

    def room_words(self, value: Value) -> int:
        """Words of one token's part padded for products that read or write it."""
        words = self.axes.words(value)
        nodes = [value.producer, *value.users]
        whole = any(node is not None and node.op in ("linear", "feed_forward", "add") for node in nodes)
        return self.padded(words) if whole else -(-words // _COLUMN_WORDS) * _COLUMN_WORDS

    def root(self, value: Value) -> tuple[Value, int]:
        """The value that owns the words of `value`, and the offset in it."""
        offset = 0
        while value.producer is not None and value not in self.anchors:
            found = alias(value.producer, value, self.axes)
            if found is None:
                break
            value, offset = found[0], offset + found[1]
        return value, offset

    def has_room(self, value: Value) -> bool:
        """Whether the value has been computed (or is an input or a constant)."""
        owner = self.root(value)[0]
        return owner.is_constant or owner in self._rooms

    def is_kept(self, value: Value) -> bool:
        """Whether the value has a room that outlives its phase."""
        return value in self._kept

    def words(self, value: Value) -> Words:
        """Address of the value (of the current token's part)."""
        owner, offset = self.root(value)
        if owner.is_constant:
            register = self.offset_register(self._row_words[owner]) if owner in self._row_words else None
            return Words(self._constant_words[owner] + offset, register)
        room = self._rooms[owner]
        if not room.per_token:
            return Words(room.word + offset)
        return Words(room.word + offset, self.offset_register(room.size))

    def define(self, value: Value) -> Words:
        """Make room for a value that is about to be computed, unless `keep` did so before."""
        if value not in self._rooms:
            size = self.room_words(value)
            self._rooms[value] = Room(self.allocator.allocate(size, f"the value '{value.name}'"), size, False)
        return self.words(value)

    def keep(self, value: Value, room: Room) -> None:
        """Give a value a room that lives until `forget`."""
        self._rooms[value] = room
        self._kept.add(value)

    def free_words(self, value: Value) -> int:
        """Words of the value's room from its first word on; 0 for a part of a larger value, whose neighbour lives."""
        owner, offset = self.root(value)
        room = self._rooms.get(owner)
        whole = not offset and self.axes.words(owner) == self.axes.words(value)
        return room.size if room is not None and whole else 0

    def take_over(self, value: Value, heir: Value) -> bool:
        """Let `heir` have the room of `value` when nothing else will use it; returns whether that was possible."""
        owner, offset = self.root(value)
        room = self._rooms.get(owner)
        if room is None or offset or owner in self._kept or heir in self._rooms or room.per_token:
            return False
        if room.size != self.room_words(heir):
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
        if not room.per_token:
            self.allocator.release(room.word, room.size)

    def begin_phase(self, phase: Phase, token: int) -> None:
        """Start a token loop: note when each value is used for the last time."""
        self.token = token
        self._offsets = {}
        self._uses = {}
        self._step = 0
        for position, step in enumerate(phase.steps):
            for value in (*step_operands(step), *step.node.outputs):
                self._uses.setdefault(self.root(value)[0], []).append(position)

    def end_step(self) -> None:
        """Release what no later step of the phase uses, and go to the next step."""
        for value, positions in self._uses.items():
            if positions[-1] == self._step and value in self._rooms and value not in self._kept:
                self.forget(value)
        self._step += 1

    def end_phase(self) -> None:
        """End a token loop: offset registers are free again."""
        self.emitter.release(*self._offsets.values())
        self._offsets = {}
        self.token = None

    def offset_register(self, stride: int) -> int:
        """Register that holds token index * stride; computed at its first use in a phase."""
        if self.token is None:
            raise AssertionError("a per-token value is addressed outside a token loop")
        if stride == 1:
            return self.token
        if stride not in self._offsets:
            self._offsets[stride] = self.emitter.scalar("mul", self.token, stride)
        return self._offsets[stride]

    @contextmanager
    def scratch(self, size: int, purpose: str) -> Iterator[Words]:
        """Words for the time of the block."""
        padded = -(-size // _COLUMN_WORDS) * _COLUMN_WORDS
        word = self.allocator.allocate(padded, purpose)
        yield Words(word)
        self.allocator.release(word, padded)

    def constant(self, array: NDArray[Any], name: str) -> int:
        """First word of a new read-only array; constants come before every other room."""
        raw = np.zeros(-(-array.size // _COLUMN_WORDS) * _COLUMN_WORDS, dtype=np.uint32)
        raw[: array.size] = np.ascontiguousarray(array).reshape(-1).view(np.uint32)
        word = self.allocator.allocate(raw.size, f"the constant '{name}'")
        self.constants.append((name, word, raw))
        return word

    def place_constant(self, value: Value) -> None:
        """Put a constant value into the shared buffer, once; one with a token axis as a row for each token."""
        if value.constant is None or value in self._constant_words:
            return
        kind = np.int32 if value.type.dtype.startswith("int") else np.float32
        array = np.asarray(value.constant, dtype=kind)
        axis = self.axes.axes.get(value)
        if axis is not None:
            rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
            stride = rows.shape[1] if rows.shape[1] == 1 else -(-rows.shape[1] // _COLUMN_WORDS) * _COLUMN_WORDS
            array = np.zeros((len(rows), stride), kind)
            array[:, : rows.shape[1]] = rows
            self._row_words[value] = stride
        self._constant_words[value] = self.constant(array, value.name)

