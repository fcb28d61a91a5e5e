"""Bytes that instructions of a CAM move between its circuits and the memories of keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isa import Indexed, Instruction, Machine, Program, Symbol

_VALUE_BITS = 16
"""Of an element that a CAM stores of a value."""

_MOVES = {"cprog": "key", "cfetch": "value", "cstore": "key", "cvalue": "value"}
"""Space of the memory that an instruction reads or writes, which is the name of the operand with the row, too."""


@dataclass(frozen=True)
class SearchTraffic:
    """Bytes of one execution, by index of the instruction.

    Attributes:
        read: From the memories: the rows of a tile, the values of its candidates.
        written: To the memories.
    """

    read: Mapping[int, int] = field(default_factory=dict[int, int])
    written: Mapping[int, int] = field(default_factory=dict[int, int])


def search_traffic(program: Program, machine: Machine) -> SearchTraffic:
    """What the instructions of a program move; a search programs all rows of its tile."""
    if machine.cam is None:
        return SearchTraffic()
    rows = {"cprog": machine.cam.rows, "cstore": 1, "cvalue": 1}
    memories = {space: [each for each in program.symbols if each.space == space] for space in ("key", "value")}
    read, written = dict[int, int](), dict[int, int]()
    for number, each in enumerate(program.code):
        if each.mnemonic in _MOVES:
            moved = written if each.mnemonic in ("cstore", "cvalue") else read
            space = _MOVES[each.mnemonic]
            count = rows.get(each.mnemonic) or int(str(each["top"]))
            moved[number] = count * _row_bits(memories[space], each, space) // 8
    return SearchTraffic(read, written)


def _row_bits(memories: list[Symbol], instruction: Instruction, space: str) -> int:
    """Bits of a key or value of the cache that the row belongs to: a register only adds a place in a cache alike."""
    operand = instruction[space]
    row = operand.immediate if isinstance(operand, Indexed) else int(str(operand))
    own = next((each for each in memories if each.address <= row < each.address + each.size), None)
    width = 0 if own is None else int(own.layout["head_dim"])
    return width * (1 if space == "key" else _VALUE_BITS)
