"""Runs a program on the engine without the host session, against the graph interpreter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isa import Machine, Program
from passes import Graph
from pimc.kv_layout import KvLayout
from pimc.simulator.dram.channel_timing import ChannelTiming
from pimc.simulator.engine.engine import Engine


class ProgramUnderTest:
    """A program on the engine; `run` plays the host."""

    def __init__(self, program: Program, machine: Machine) -> None:
        self.program = program
        self.engine = Engine(machine, program, ChannelTiming(machine))
        self.length = 0

    def run(self, ids: NDArray[np.int64], entry: str, mask: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        state, program = self.engine.state, self.program
        count = ids.size
        integers = state.shared.view(np.int32)
        word = program.symbol("input_ids").address
        integers[word : word + count] = ids
        word = program.symbol("position_ids").address
        integers[word : word + count] = np.arange(self.length, self.length + count)
        if mask is not None:
            word = program.symbol("attention_mask").address
            integers[word : word + mask.size] = mask
        values = {"kv_length": self.length, "token_count": count, "first_output": 0, "masked": int(mask is not None)}
        for register in program.registers:
            if register.name in program.entries[entry].registers:
                state.registers[register.register] = values[register.name]
        self.engine.run(program.entries[entry].address, timing_only=False)
        if entry != "encode":
            self.length += count
        symbol = program.symbol("logits")
        size, words = int(symbol.layout["words_per_token"]), int(symbol.layout["words"])
        rows = state.shared[symbol.address : symbol.address + size * count].reshape(count, size)
        return rows[:, :words].copy()

    def cache(self, name: str) -> NDArray[np.float32]:
        symbol = self.program.symbol(name)
        region = self.engine.state.bank_region("kv_cache")
        layout = KvLayout.from_json(symbol.layout)
        tokens = layout.load(
            region.data, symbol.address - self.program.region("kv_cache").address, np.arange(self.length)
        )
        return tokens[0]


def oracle_inputs(graph: Graph, ids: NDArray[np.int64], start: int, mask: NDArray[np.int64] | None):  # type: ignore[no-untyped-def]
    inputs = {"input_ids": ids[None], "position_ids": np.arange(start, start + ids.size)[None]}
    if mask is not None:
        inputs["attention_mask"] = mask[None]
    return inputs
