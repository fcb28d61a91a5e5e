"""The loops over the tokens of a run: one a phase, its steps in order, outputs delivered, unwanted outputs skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isa import Indexed, Source, Symbol
from passes import Value
from pimc.backend.attention import attend
from pimc.backend.cache_append import append_key, append_value
from pimc.backend.crossing import Crossing
from pimc.backend.elementwise import ELEMENTWISE
from pimc.backend.emitter import Words, indexed
from pimc.backend.lowering import Lower, Lowering
from pimc.backend.normalization import NORMALIZATION
from pimc.backend.products import PRODUCTS
from pimc.backend.schedule import Phase, Step
from pimc.backend.token_rows import TokenRows

LOWERINGS: dict[str, Lower] = {**ELEMENTWISE, **NORMALIZATION, **PRODUCTS}
"""The function that emits the code of each operation; `cached_attention` is emitted in parts."""

_MASK_DEPTH = 1e30
"""What an excluded position loses before the softmax; finite, so that no later product is NaN."""


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

    def emit(self, inputs: Sequence[Symbol]) -> None:
        """Emit the key mask and all phases."""
        self._emit_mask(inputs)
        for number, phase in enumerate(self.phases):
            self.crossing.begin_phase(number)
            with self.low.emitter.loop(indexed(0, self.low.host.token_count)) as token:
                self.low.storage.begin_phase(phase, token)
                self._emit_steps(phase.required)
                if phase.optional:
                    with self.low.emitter.unless_zero(self._wanted(token)):
                        self._emit_steps(phase.optional)
                self.low.end_phase()
            self.crossing.end_phase(number)

    def _emit_mask(self, inputs: Sequence[Symbol]) -> None:
        """The additive key mask from the host's 0 and 1: 0 for attended positions, far below zero for others."""
        low = self.low
        keys = [symbol for symbol in inputs if symbol.layout["kind"] == "keys"]
        if low.mask_words is None or not keys:
            return
        with low.emitter.origin(Source("key_mask")), low.emitter.unless_zero(low.host.masked):
            length = low.emitter.scalar("add", low.host.kv_length, Indexed(0, low.host.token_count))
            place = low.mask_words, keys[0].address
            count = indexed(0, length)
            low.emitter.emit("vmap", *place, "from_int", count, scale=_MASK_DEPTH, bias=-_MASK_DEPTH)
            low.emitter.release(length)

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
            source = Source(step.node.name, step.node.origins)
            with self.low.emitter.origin(source):
                self.crossing.before_step(step)
                if step.node not in self.low.absorbed:
                    self._emit_step(step, steps)
                self.crossing.after_step(step)
                self._deliver(step)
            self.low.storage.end_step()

    def _emit_step(self, step: Step, group: Sequence[Step]) -> None:
        node = step.node
        waits = bool(node.op == "cached_attention" and node.attributes["causal"] and Step(node, "attend") in group)
        if step.part == "append":
            append_key(self.low, node)
            if not waits:
                append_value(self.low, node)
        elif step.part == "attend":
            attend(self.low, node, waits and Step(node, "append") in group)
        else:
            LOWERINGS[node.op](self.low, node)

    def _deliver(self, step: Step) -> None:
        """Bring outputs that the step computed to their place."""
        low = self.low
        if step.part == "append":
            return
        for name, value in low.graph.outputs.items():
            if low.storage.root(value)[0] not in step.node.outputs:
                continue
            source, symbol = low.storage.words(value), self.outputs[name]
            if value in self.spilled:
                self.spilled[value].store(low, source)
                continue
            size = int(symbol.layout["words_per_token"])
            target = Words(symbol.address, low.storage.offset_register(size))
            if source != target:
                low.copy(target, source, int(symbol.layout["words"]))
