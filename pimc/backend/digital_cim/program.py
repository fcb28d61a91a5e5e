"""A layer as a program for a core of digital CIM arrays."""

from __future__ import annotations

from dataclasses import dataclass

from isa import DIGITAL_CIM_MATRICES, Entry, Indexed, Machine, Program, Region, RegisterSymbol, ResourceLimitError
from pimc.backend.digital_cim.block_code import Block
from pimc.backend.digital_cim.layer import Activities, CimLayer, activities, core_for
from pimc.backend.digital_cim.phases import Phases
from pimc.backend.digital_cim.rooms import Rooms, Tiling, rooms, tiling
from pimc.backend.emitter import Emitter

_KV_LENGTH = 0
"""Register with the tokens in the cache."""


@dataclass(frozen=True)
class Workload:
    """Tokens of a sequence.

    Attributes:
        prompt: Tokens that are known at the beginning.
        generated: Tokens that follow one by one.
    """

    prompt: int
    generated: int

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.prompt + self.generated


PUBLISHED_INSTANCE = Workload(8, 8)
"""The instance that the authors of Titanus simulate, whatever the workload: src/dict2ops.py and src/ops.py."""


def build_cim_layer(layer: CimLayer, machine: Machine, workload: Workload) -> Program:
    """A layer with six entries.

    `load` brings the weights into the arrays; `prefill` takes all tokens of the prompt, each unit all of them before
    the next unit begins; `pipeline` does the same token by token, so that units work side by side on different tokens;
    `token` takes one of them behind kv_length others whose keys and values are still in the buffer, `decode` one behind
    others whose records are read; `instance` is the published instance of 8 + 8 tokens, phase by phase, in which a
    generated token's phases do not wait for the token before it, and whose outputs stay in the buffer.

    Args:
        layer: Its sizes.
        machine: A machine with a digital CIM core and off-chip memory.
        workload: Length of the prompt and of the context to reserve.

    Raises:
        MachineError: the machine has no core.
        ResourceLimitError: the layer does not fit the core, or its values the shared buffer.
    """
    core = core_for(layer, machine)
    tiles = tiling(layer, core)
    blocks = _blocks(workload)
    context = max(workload.tokens, PUBLISHED_INSTANCE.tokens)
    scores = max(block.tokens * layer.heads * block.columns for block in blocks.values())
    places = rooms(layer, tiles, max(block.tokens for block in blocks.values()), context, scores)
    _check_capacity(places, machine)
    emitter = Emitter()
    emitter.reserve([_KV_LENGTH])
    entries = {"load": Entry("load", 0, ())}
    _load(emitter, layer, places)
    shares = activities(layer, core, workload.tokens)
    for name, block in blocks.items():
        registers = ("kv_length",) if block.position is not None else ()
        entries[name] = Entry(name, len(emitter.code), registers)
        _phases(emitter, layer, machine, tiles, places, shares, block)
    return Program(
        machine=machine.name,
        machine_sha256=machine.sha256,
        numerics="machine",
        code=tuple(emitter.code),
        entries=entries,
        registers=(RegisterSymbol("kv_length", _KV_LENGTH, 0, workload.tokens - 1, "tokens in the cache"),),
        regions=(Region("work", "sb", 0, places.end, "cache"),),
        symbols=places.symbols(),
        metadata={"off_chip": places.off_chip()},
        sources=tuple(emitter.sources),
        debug=tuple(emitter.debug),
    )


def _blocks(workload: Workload) -> dict[str, Block]:
    """The tokens that each entry takes."""
    instance = PUBLISHED_INSTANCE
    return {
        "instance": Block(instance.tokens, instance.tokens, cached=_steps(instance), is_stored=False),
        "prefill": Block(workload.prompt, workload.prompt),
        "pipeline": Block(workload.prompt, workload.prompt, by_token=True),
        "token": Block(1, workload.tokens, _KV_LENGTH),
        "decode": Block(1, workload.tokens, _KV_LENGTH, (Indexed(0, _KV_LENGTH),)),
    }


def _steps(workload: Workload) -> tuple[int, ...]:
    """Tokens before each generated one."""
    return tuple(range(workload.prompt, workload.tokens))


def _phases(
    emitter: Emitter,
    layer: CimLayer,
    machine: Machine,
    tiles: Tiling,
    places: Rooms,
    shares: Activities,
    block: Block,
) -> None:
    Phases(emitter, layer, core_for(layer, machine), tiles, places, shares, block).emit()
    emitter.emit("halt")


def _check_capacity(places: Rooms, machine: Machine) -> None:
    capacity = machine.shared_buffer.capacity_words
    if places.end > capacity:
        raise ResourceLimitError(
            "the values of the layer do not fit the shared buffer",
            notes=[f"demand: {places.end:,} words", f"bound: {capacity:,} words"],
            help="give a shorter prompt or context, or a machine with a larger buffer",
        )


def _load(emitter: Emitter, layer: CimLayer, places: Rooms) -> None:
    """Weights from off chip, an input of a matrix after the other, through the room of the middle."""
    sizes = {name: (layer.hidden, layer.hidden) for name in DIGITAL_CIM_MATRICES}
    sizes |= {"up": (layer.hidden, layer.feed_forward), "down": (layer.feed_forward, layer.hidden)}
    address = places.weights_at
    for name, (inputs, outputs) in sizes.items():
        with emitter.loop(inputs) as row:
            offset = emitter.scalar("mul", row, outputs)
            emitter.emit("ldoff", places.middle, Indexed(address, offset), outputs)
            emitter.emit("dprog", name, Indexed(0, row), places.middle, outputs)
            emitter.release(offset)
        address += inputs * outputs
    emitter.emit("halt")
