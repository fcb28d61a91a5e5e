"""The phases of a program: loops over rows, steps on whole tensors, outputs delivered, unwanted outputs skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from isa import Indexed, Source, Symbol, UnsupportedError
from passes import Affine, Dim, Value, symbol
from pimc.backend.attention.cache_places import place_of
from pimc.backend.attention.key_masks import MASK_DEPTH
from pimc.backend.emitter import Words, indexed
from pimc.backend.extents import EARLIER
from pimc.backend.lowering import KeyMask, Lower, Lowering
from pimc.backend.offset_registers import CurrentRow
from pimc.backend.operations.copies import COPIES
from pimc.backend.operations.elementwise import ELEMENTWISE, emit_map
from pimc.backend.operations.indexing import INDEXING
from pimc.backend.operations.normalization import NORMALIZATION
from pimc.backend.operations.powers import POWERS
from pimc.backend.operations.products import PRODUCTS
from pimc.backend.operations.ranking import RANKING
from pimc.backend.operations.reductions import REDUCTIONS
from pimc.backend.rooms.crossing import Crossing
from pimc.backend.rooms.token_rows import TokenRows
from pimc.backend.rooms.views import View
from pimc.backend.rows.row_axes import Space, is_token_integer
from pimc.backend.rows.schedule import Phase, Step

LOWERINGS: dict[str, Lower] = {
    **ELEMENTWISE,
    **POWERS,
    **NORMALIZATION,
    **PRODUCTS,
    **REDUCTIONS,
    **RANKING,
    **INDEXING,
    **COPIES,
}
"""The function that emits the code of each operation; `cached_attention` is emitted in parts."""

_REGISTERS_OF_A_STEP = 13
"""Scalar registers that a step may need besides those that it finds computed."""
_REGISTERS_OF_A_COMPRESSED_CACHE = 22
"""The same for attention over a compressed cache."""


@dataclass
class TokenLoop:
    """Emits the phases of a program.

    Attributes:
        low: State of the lowering.
        phases: The schedule.
        outputs: Symbols of the outputs by name.
        spilled: Outputs in the banks.
        crossing: Values that one phase leaves to later ones.
    """

    low: Lowering
    phases: Sequence[Phase]
    outputs: Mapping[str, Symbol]
    spilled: Mapping[Value, TokenRows]
    crossing: Crossing

    def emit(self) -> None:
        """Emit the masks that the host gives, and all phases."""
        for mask in self.low.masks.values():
            if mask.source is not None:
                with self.low.emitter.origin(Source("key_mask")), self.low.masked(mask):
                    emit_key_mask(self.low, mask.source, mask, self._with_earlier(mask.source.shape[1]))
        for number, phase in enumerate(self.phases):
            self.crossing.begin_phase(number)
            if phase.space is None:
                self.low.storage.begin_phase(phase, None)
                self._emit_steps(phase.required)
            else:
                self._emit_rows(phase, phase.space)
            self.low.end_phase()
            self.crossing.end_phase(number)
        self._deliver_inputs()

    def _with_earlier(self, keys: Dim) -> Dim:
        """Length of a mask, with the tokens of earlier runs where the model's own dimension leaves them out."""
        main = self.low.map.main
        is_run = main is not None and isinstance(main.tokens, Affine) and keys == main.tokens
        return keys + symbol(EARLIER) if is_run else keys

    def _emit_rows(self, phase: Phase, space: Space) -> None:
        low = self.low
        with ExitStack() as loops:
            sequence = loops.enter_context(low.emitter.loop(space.batch)) if space.batch > 1 else None
            is_main = space == low.map.main
            own = loops.enter_context(low.extents.operand(space.tokens))
            count = indexed(0, low.host.token_count) if is_main else own
            token = loops.enter_context(low.emitter.loop(count))
            low.storage.begin_phase(phase, CurrentRow(space, token, sequence))
            self._emit_steps(phase.required)
            if phase.optional:
                with low.emitter.unless_zero(self._wanted(token)):
                    self._emit_steps(phase.optional)
            low.forget_registers()

    def _wanted(self, token: int) -> int:
        """Register that is zero while the token comes before the first wanted output."""

        def compute() -> int:
            register = self.low.emitter.scalar("add", token, 1)
            self.low.emitter.emit("sub", register, register, Indexed(0, self.low.host.first_output))
            self.low.emitter.emit("max", register, register, 0)
            return register

        return self.low.once("wanted", compute)

    def _emit_steps(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if self.low.emitter.free_registers < self._registers(step):
                self.low.forget_registers()
            source = Source(step.node.name, step.node.origins)
            with self.low.emitter.origin(source):
                self.crossing.before_step(step)
                if step.node not in self.low.absorbed and not self._is_view(step):
                    self._emit_step(step, steps)
                self.crossing.after_step(step)
                self._deliver(step)
                self._make_masks(step)
            self.low.storage.end_step()

    def _registers(self, step: Step) -> int:
        cache = step.node.attributes.get("cache")
        is_compressed = cache is not None and self.low.graph.caches[str(cache)].is_compressed
        return _REGISTERS_OF_A_COMPRESSED_CACHE if is_compressed else _REGISTERS_OF_A_STEP

    def _is_view(self, step: Step) -> bool:
        return step.part == "whole" and all(self.low.storage.is_view(value) for value in step.node.outputs)

    def _make_masks(self, step: Step) -> None:
        for value, mask in self.low.masks.items():
            if value in step.node.outputs and mask.source is None:
                emit_key_mask(self.low, value, mask, value.shape[1])

    def _emit_step(self, step: Step, group: Sequence[Step]) -> None:
        node = step.node
        is_causal = node.op == "cached_attention" and bool(node.attributes["causal"])
        waits = is_causal and Step(node, "attend") in group
        if is_causal and not waits and self.low.graph.caches[str(node.attributes["cache"])].is_compressed:
            raise UnsupportedError(
                f"'{node.name}' writes all keys before the first query, so that its cache cannot be compressed",
                help="export the model with past keys and values",
            )
        if step.part == "append":
            place_of(self.low, node).append_key(self.low, node)
            if not waits:
                place_of(self.low, node).append_value(self.low, node)
        elif step.part == "attend":
            place_of(self.low, node).attend(self.low, node, waits and Step(node, "append") in group)
        else:
            LOWERINGS[node.op](self.low, node)

    def _deliver(self, step: Step) -> None:
        """Bring outputs that the step computed to their place."""
        if step.part == "append":
            return
        for name, value in self.low.graph.outputs.items():
            if value not in step.node.outputs or is_token_integer(self.low.map, value):
                continue
            if value in self.spilled:
                with self.low.contiguous(self.low.storage.view(value)) as words:
                    self.spilled[value].store(self.low, words)
            else:
                self._copy_output(name, value)

    def _copy_output(self, name: str, value: Value) -> None:
        """Copy an output to its room, unless it was computed there."""
        low, symbol = self.low, self.outputs[name]
        view = low.storage.view(value)
        own = low.map.rows.get(value)
        size = low.storage.row_room(value)
        if own is None:
            target = View(Words(symbol.address), view.shape, low.storage.whole_strides(value, size))
        elif low.storage.row is not None:
            register = low.storage.offset_register("row" if own.batch is not None else "token", size)
            target = low.dense(view, Words(symbol.address, register))
        else:
            target = View(Words(symbol.address), view.shape, low.storage.whole_strides(value, size))
        if view.words != target.words:
            low.copy_view(target, view)

    def _deliver_inputs(self) -> None:
        """Outputs that are an input or a constant under another name."""
        for name, value in self.low.graph.outputs.items():
            if value.producer is None:
                with self.low.emitter.origin(Source(name)):
                    self._copy_output(name, value)


def emit_key_mask(low: Lowering, value: Value, mask: KeyMask, length: Dim) -> None:
    """Emit the additive form of a key mask from its 0 and 1: 0 for attended positions, far below zero for others."""
    view = low.storage.view(value)
    shape = (view.shape[0], length)
    source, target = View(view.words, shape, view.strides), View(Words(mask.word), shape, (mask.row_words, 1))
    emit_map(low, target, source, "from_int", MASK_DEPTH, -MASK_DEPTH)
