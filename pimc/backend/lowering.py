"""What the lowering functions of all operations share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from isa import Indexed, Machine, NearBank
from passes import Dim, Graph, MatrixLayout, Node, PlacedMatrix, Placement, Tile, Value
from pimc.backend.crossbar.matrices import multiply
from pimc.backend.emitter import Emitter, Words, indexed
from pimc.backend.extents import Extents
from pimc.backend.operations.nest import Piece, pieces
from pimc.backend.rooms.storage import Storage
from pimc.backend.rooms.views import View, row_major
from pimc.backend.rows.row_axes import RowMap
from pimc.kv_layout import KvLayout

if TYPE_CHECKING:
    from pimc.backend.caches.keep_all import KeepAll
    from pimc.backend.caches.selection import AllTokens
    from pimc.backend.cam.search_plan import SearchPlan
    from pimc.backend.crossbar.cache_arrays import ArrayRooms


@dataclass(frozen=True)
class CacheRooms:
    """Where a KV cache lies, in the banks unless `unit` says otherwise.

    Attributes:
        keys: Layout of the keys; elsewhere than in the banks only its heads and tokens count.
        key_column: First linear column of the keys.
        values: Layout of the values.
        value_column: First linear column of the values.
        first: Register with the position of the first token of a run, `None` when that is 0.
        tokens: Number of keys of a run in the end, past ones included.
        context: Tokens of the longest context.
        mechanism: How it keeps its tokens.
        selection: Which of these a query attends to.
        channels: Channels of the device.
        state_word: First word of what the mechanism keeps in the shared buffer.
        code_column: First linear column of the codes.
        selection_column: First linear column of what the selection keeps.
        selection_table: First word of the constants that the selection reads.
        unit: Where it lies and its attention runs: a name of `pimc.backend.attention.cache_places.CACHE_PLACES`.
        arrays: Its groups of arrays, `None` elsewhere than in crossbars.
        search: Its rows in the CAM, `None` elsewhere.
    """

    keys: KvLayout
    key_column: int
    values: KvLayout
    value_column: int
    first: int | None
    tokens: Dim
    context: int
    mechanism: KeepAll
    selection: AllTokens
    channels: int
    state_word: int = 0
    code_column: int = 0
    selection_column: int = 0
    selection_table: int = 0
    unit: str = "banks"
    arrays: ArrayRooms | None = None
    search: SearchPlan | None = None


@dataclass(frozen=True)
class KeyMask:
    """The additive form of a key mask: 0 for attended positions, far below zero for others.

    Attributes:
        word: First word; a row of `row_words` words for each sequence.
        row_words: Words of a row; 0 when all sequences share one.
        source: Input that is the mask; the host says in the register `masked` whether it excludes anything.
    """

    word: int
    row_words: int
    source: Value | None


@dataclass(frozen=True)
class MaskBounds:
    """Words with the numbers by which a softmax tells a row without any key.

    Attributes:
        least_maximum: A number between what attended and excluded scores can be.
        least_sum: A number below every sum of a softmax.
    """

    least_maximum: int
    least_sum: int


@dataclass(frozen=True)
class HostRegisters:
    """Registers that the host sets before an entry runs.

    Attributes:
        kv_length: Tokens in the cache.
        token_count: Valid tokens of the run.
        first_output: First token whose outputs are wanted.
        masked: 1 when a key mask excludes any position, else 0.
    """

    kv_length: int
    token_count: int
    first_output: int
    masked: int


@dataclass
class Lowering:
    """State of one compilation to instructions.

    Attributes:
        graph: The fused and placed graph.
        machine: The target.
        near_bank: Its near-bank units.
        emitter: Code so far.
        storage: Rooms in the shared buffer.
        map: What works row by row.
        extents: Lengths that are known when the program runs.
        placement: Matrices in the banks.
        caches: KV caches in the banks, by name.
        host: Registers that the host sets.
        masks: Additive form of every key mask.
        stored: Function of the vector unit that rounds elements as the banks store them.
        mask_bounds: Where an attention has a mask or a bias, `None` where none has.
        absorbed: Nodes that were lowered together with an earlier one.
        token_registers: Registers that hold an integer of the current token, by key; they die with the phase.
    """

    graph: Graph
    machine: Machine
    near_bank: NearBank
    emitter: Emitter
    storage: Storage
    map: RowMap
    extents: Extents
    placement: Placement
    caches: dict[str, CacheRooms]
    host: HostRegisters
    stored: str
    masks: dict[Value, KeyMask] = field(default_factory=dict[Value, "KeyMask"])
    mask_bounds: MaskBounds | None = None
    absorbed: set[Node] = field(default_factory=set[Node])
    token_registers: dict[object, int] = field(default_factory=dict[object, int])

    def position(self, first: int | None) -> int:
        """Register of the current token's position: `first` + index in the run."""
        row = self.storage.row
        assert row is not None
        if first is None:
            return row.token
        return self.once(("position", first), lambda: self.emitter.scalar("add", row.token, Indexed(0, first)))

    def once(self, key: object, compute: Callable[[], int]) -> int:
        """The register that `compute` gives, computed at its first use for the current token."""
        if key not in self.token_registers:
            self.token_registers[key] = compute()
        return self.token_registers[key]

    @contextmanager
    def temporary_registers(self) -> Iterator[None]:
        """Registers that are computed inside for the current token are free again behind the block."""
        kept = set(self.token_registers)
        with self.storage.offsets.temporary():
            yield
        for key in [key for key in self.token_registers if key not in kept]:
            self.emitter.release(self.token_registers.pop(key))

    @contextmanager
    def masked(self, mask: KeyMask | None) -> Iterator[None]:
        """Skip the instructions emitted inside when the host says that the mask excludes nothing."""
        if mask is None or mask.source is None:
            yield
            return
        with self.emitter.unless_zero(self.host.masked):
            yield

    def forget_registers(self) -> None:
        """Registers that hold something of the current row are free again; what is needed again is computed again."""
        self.emitter.release(*self.token_registers.values())
        self.token_registers.clear()
        self.storage.offsets.forget()

    def end_phase(self) -> None:
        """End a phase."""
        self.storage.end_phase()

    def product(
        self,
        matrix: PlacedMatrix,
        source: Words,
        result: Words,
        accumulate: bool = False,
        column: int | None = None,
    ) -> None:
        """Emit result = W x, or result += W x; both ranges are padded as the layout says (`padded` sees to x).

        The register `column` says how many columns further on the chosen one of several matrices begins.
        """
        if matrix.tiles:
            self._multiply_in_arrays(matrix, source, result, accumulate)
            return
        layout = matrix.layout
        for tile in layout.tiles():
            self._multiply_tile(layout, tile, Words(matrix.column + tile.column, column), source)
            self.emitter.emit(
                "rdacc",
                ch=self.near_bank.all_channels,
                count=tile.outputs,
                dst=(result + tile.first_output * layout.group_outputs).operand,
                cdiv=layout.group_channels,
                sj=layout.banks,
                sn=layout.group_outputs,
                mode="add" if accumulate else "set",
            )

    def _multiply_in_arrays(self, matrix: PlacedMatrix, source: Words, result: Words, accumulate: bool) -> None:
        assert self.machine.crossbar is not None
        lines = self.machine.crossbar.array_rows
        at, out = (lambda element: (source + element).operand), (lambda element: (result + element).operand)
        multiply(self.emitter, matrix.tiles, lines, at, out, out if accumulate else None)

    def _multiply_tile(self, layout: MatrixLayout, tile: Tile, column: Words, source: Words) -> None:
        """One filling of the accumulators; the global buffer keeps x from tile to tile while it holds all of it."""
        emit, everyone = self.emitter.emit, self.near_bank.all_channels
        chunks = layout.chunks()
        for number, (start, width) in enumerate(chunks):
            if tile.first_output == 0 or len(chunks) > 1:
                emit(
                    "wrgb",
                    ch=everyone,
                    src=(source + start * layout.lanes).operand,
                    cols=width,
                    cdiv=layout.group_channels,
                    si=layout.slice_columns * layout.lanes,
                    sn=layout.lanes,
                )
            if number == 0:
                emit("wracc", ch=everyone, count=tile.outputs)
            emit("mac", ch=everyone, addr=column.operand, cols=width, outs=tile.outputs, bstride=width)
            column = column + width * tile.outputs

    @contextmanager
    def padded(self, view: View, matrix: PlacedMatrix, room: int) -> Iterator[Words]:
        """Words of x with finite words behind it, as far as the product reads; arrays read x alone.

        Words behind x meet zero weights, but must not be NaN or infinite. x is copied when it does not lie side by
        side, or when its room is too short.

        Args:
            view: Where x is.
            matrix: What x is multiplied with.
            room: Words from the first word of x on that belong to it.
        """
        used = matrix.layout.inputs
        read = used if matrix.tiles else matrix.layout.padded_inputs
        if view.is_contiguous and (room >= read or read == used):
            self.clear(view.words + used, read - used)
            yield view.words
            return
        with self.storage.scratch(read, "a padded vector") as copy:
            self.copy_view(self.dense(view, copy), view)
            self.clear(copy + used, read - used)
            yield copy

    @contextmanager
    def contiguous(self, view: View) -> Iterator[Words]:
        """Words of the elements side by side; a copy when they do not lie so."""
        if view.is_contiguous:
            yield view.words
            return
        with self.storage.scratch(self.storage.capacity_words(view), "a packed vector") as copy:
            self.copy_view(self.dense(view, copy), view)
            yield copy

    def dense(self, view: View, words: Words) -> View:
        """Room for a view's elements at `words`, dynamic axes at their largest size."""
        return View(words, view.shape, row_major([self.extents.capacity(dim) for dim in view.shape]))

    def copy_view(self, target: View, source: View) -> None:
        """Emit target = source, word by word."""
        self.copy_pieces(pieces(self.extents, [target, source]))

    def copy_pieces(self, copied: Iterable[Piece]) -> None:
        """Emit the copy of each piece from its second place to its first."""
        for piece in copied:
            to, of = piece.operands
            length, rows, to_row, of_row, to_step, of_step = piece.extent
            self.emitter.emit("vmap", to, of, "copy", length, rows, 1.0, 0.0, to_row, of_row, to_step, of_step)

    def clear(self, words: Words, length: int) -> None:
        """Emit words = 0."""
        if length:
            self.emitter.emit("vfill", words.operand, len=length)

    def clear_view(self, view: View) -> None:
        """Emit view = 0."""
        for piece in pieces(self.extents, [view]):
            length, rows, row_stride, step = piece.extent
            self.emitter.emit("vfill", piece.operands[0], 0.0, length, rows, row_stride, step)

    def copy(self, target: Words, source: Words, length: int) -> None:
        """Emit target = source."""
        self.emitter.emit("vmap", target.operand, source.operand, len=length)

    def later_user(self, value: Value) -> Node | None:
        """The only node that uses `value`, when there is exactly one and `value` is no output."""
        users = value.users
        return users[0] if len(users) == 1 and not self.graph.is_output(value) else None


def channel_mask(register: int | None, mask: int) -> int | Indexed:
    """Channel operand: a fixed mask, or the mask in a register."""
    return mask if register is None else indexed(0, register)


Lower = Callable[[Lowering, Node], None]
"""Emits the code of one node for the current token."""
