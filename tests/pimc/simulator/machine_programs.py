"""Small programs on the bundled machine, and a way to run them instruction by instruction."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import (
    Entry,
    Instruction,
    Machine,
    OperandValue,
    Program,
    Region,
    RegisterSymbol,
    Segment,
    Source,
    instruction,
    load_machine,
)
from pimc.simulator.dram.channel_timing import ChannelTiming
from pimc.simulator.engine.engine import Engine

ALL = 0xFFFFFFFF


@cache
def machine() -> Machine:
    return load_machine("gddr6-aim-acc16")


def code(*rows: tuple[Any, ...]) -> tuple[Instruction, ...]:
    """Instructions from (mnemonic, positional operands ..., {named operands})."""
    built = []
    for mnemonic, *operands in rows:
        named: Mapping[str, OperandValue] = operands.pop() if operands and isinstance(operands[-1], dict) else {}
        built.append(instruction(mnemonic, *operands, **named))
    return tuple(built)


def program(
    instructions: Sequence[Instruction],
    regions: Sequence[Region] = (),
    segments: Sequence[Segment] = (),
    registers: Sequence[RegisterSymbol] = (),
    numerics: str = "machine",
    **facts: Any,
) -> Program:
    entries = {"decode": Entry("decode", 0, tuple(symbol.name for symbol in registers))}
    return Program(
        machine=machine().name,
        machine_sha256=machine().sha256,
        numerics=numerics,
        code=tuple(instructions),
        entries=facts.pop("entries", entries),
        registers=tuple(registers),
        regions=tuple(regions),
        segments=tuple(segments),
        sources=facts.pop("sources", (Source("node"),)),
        debug=facts.pop("debug", (0,) * len(instructions)),
        **facts,
    )


def engine(*rows: tuple[Any, ...], on: Machine | None = None, **facts: Any) -> Engine:
    """An engine with the given instructions and a `halt` behind them, without refresh."""
    target = machine() if on is None else on
    return Engine(target, program(code(*rows, ("halt",)), **facts), ChannelTiming(target, refresh=False))


def machine_with(component: str, **values: Any) -> Machine:
    """The bundled machine with other values in one component."""
    part = getattr(machine(), component).model_copy(update=values)
    return machine().model_copy(update={component: part})


def run(*rows: tuple[Any, ...], **facts: Any) -> Engine:
    """The same, after it has run."""
    made = engine(*rows, **facts)
    made.run(0, timing_only=False)
    return made


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Nearest-even rounding in plain integer arithmetic."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values rounded to the nearest bf16."""
    return (bfloat16_bits(values).astype(np.uint32) << 16).view(np.float32)


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)
