"""What the lowering functions of all operations share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from isa import Indexed, Machine, NearBank
from passes import Graph, MatrixLayout, Node, PlacedMatrix, Placement, Tile, Value
from pimc.backend.emitter import Emitter, Words, indexed
from pimc.backend.storage import Storage
from pimc.backend.token_axes import TokenAxes
from pimc.kv_layout import KvLayout


@dataclass(frozen=True)
class CacheRooms:
    """Where a KV cache lies in the banks.

    Attributes:
        keys: Layout of the keys.
        key_column: First linear column of the keys.
        values: Layout of the values.
        value_column: First linear column of the values.
    """

    keys: KvLayout
    key_column: int
    values: KvLayout
    value_column: int


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
        axes: Token axes of the values.
        placement: Matrices in the banks.
        caches: KV caches in the banks, by name.
        host: Registers that the host sets.
        max_context: Longest attended length.
        mask_words: First word of the additive key mask, or `None` when the model has none.
        absorbed: Nodes that were lowered together with an earlier one.
        token_registers: Registers that hold an integer of the current token, by key; they die with the phase.
    """

    graph: Graph
    machine: Machine
    near_bank: NearBank
    emitter: Emitter
    storage: Storage
    axes: TokenAxes
    placement: Placement
    caches: dict[str, CacheRooms]
    host: HostRegisters
    max_context: int
    mask_words: int | None = None
    absorbed: set[Node] = field(default_factory=set[Node])
    token_registers: dict[object, int] = field(default_factory=dict[object, int])

    def position(self) -> int:
        """Register of the current token's position in the context: kv_length + index in the run."""
        token = self.storage.token
        assert token is not None
        return self.once("position", lambda: self.emitter.scalar("add", token, Indexed(0, self.host.kv_length)))

    def once(self, key: object, compute: Callable[[], int]) -> int:
        """The register that `compute` gives, computed at its first use for the current token."""
        if key not in self.token_registers:
            self.token_registers[key] = compute()
        return self.token_registers[key]

    def end_phase(self) -> None:
        """Registers of the token are free again."""
        self.emitter.release(*self.token_registers.values())
        self.token_registers.clear()
        self.storage.end_phase()

    def product(self, matrix: PlacedMatrix, source: Words, result: Words, accumulate: bool = False) -> None:
        """Emit result = W x, or result += W x; both ranges are padded as the layout says (`padded` sees to x)."""
        layout = matrix.layout
        for tile in layout.tiles():
            self._multiply_tile(layout, tile, matrix.column + tile.column, source)
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

    def _multiply_tile(self, layout: MatrixLayout, tile: Tile, column: int, source: Words) -> None:
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
            emit("mac", ch=everyone, addr=column, cols=width, outs=tile.outputs, bstride=width)
            column += width * tile.outputs

    @contextmanager
    def padded(self, value: Value, layout: MatrixLayout) -> Iterator[Words]:
        """Words of x with finite words behind it, as far as the product reads; a copy when the value's room is short.

        Words behind x meet zero weights, but must not be NaN or infinite.
        """
        source, used, read = self.storage.words(value), layout.inputs, layout.padded_inputs
        if self.storage.free_words(value) >= read or read == used:
            self.clear(source + used, read - used)
            yield source
            return
        with self.storage.scratch(read, "a padded vector") as copy:
            self.copy(copy, source, used)
            self.clear(copy + used, read - used)
            yield copy

    def clear(self, words: Words, length: int) -> None:
        """Emit words = 0."""
        if length:
            self.emitter.emit("vfill", words.operand, len=length)

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
