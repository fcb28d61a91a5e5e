"""Opens the rows of the next product while results of the last one are read, so that the activation is hidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isa import Indexed, Instruction, Kind, OperandValue, instruction
from pimc.backend.roll_loops import Code

_CONTROL = frozenset({"loop", "end", "skipz", "halt"})
_REGISTER_MODE = frozenset({"rdacc", "wracc", "wrgb"})
_HIDING_INSTRUCTIONS = 2
"""Vector instructions, of 22 cycles or more each, that hide two mode switches of 32 cycles."""


def open_ahead(code: Code) -> Code:
    """After a `mac` that register-mode instructions follow, open the row that the channel needs next.

    The row is that of the next `mac` in the same straight line of code, or of an `open`, which moves up. Reading
    results then overlaps with the activation of that row. The program computes the same.
    """
    targets = {i["target"] for i in code.instructions if i.mnemonic == "skipz"}
    inserted: dict[int, Instruction] = {}
    moved: set[int] = set()
    for position, instr in enumerate(code.instructions):
        if instr.mnemonic != "mac" or position + 1 in targets:
            continue
        following = _next_row_user(code.instructions, position, targets)
        if following is not None:
            user = code.instructions[following]
            place = _best_place(code.instructions, position + 1, following)
            inserted[place] = instruction("open", user["ch"], user["addr"])
            if user.mnemonic == "open":
                moved.add(following)
    return _edited(code, inserted, moved)


def _next_row_user(instructions: Sequence[Instruction], position: int, targets: set[OperandValue]) -> int | None:
    """The next `mac` or `open`, when register-mode work comes before it and its address is known already."""
    written: set[int] = set()
    worthwhile = False
    for place in range(position + 1, len(instructions)):
        instr = instructions[place]
        if instr.mnemonic in _CONTROL or place in targets:
            return None
        if instr.mnemonic in ("mac", "open"):
            used = {value.register for value in (instr["ch"], instr["addr"]) if isinstance(value, Indexed)}
            return place if worthwhile and not used & written else None
        if instr.spec.unit == "channel" and instr.mnemonic not in _REGISTER_MODE:
            return None
        worthwhile = worthwhile or instr.mnemonic in _REGISTER_MODE
        written |= _written(instr)
    return None


def _best_place(instructions: Sequence[Instruction], first: int, following: int) -> int:
    """Before the results are read, or after that when enough vector work follows to hide the two mode switches."""
    reads = [place for place in range(first, following) if instructions[place].mnemonic == "rdacc"]
    if not reads:
        return first
    writes = [p for p in range(reads[-1], following) if instructions[p].mnemonic in ("wrgb", "wracc")]
    waiting = instructions[reads[-1] + 1 : writes[0] if writes else following]
    vector = sum(instr.spec.unit == "vector" for instr in waiting)
    return reads[-1] + 1 if vector >= _HIDING_INSTRUCTIONS else first


def _written(instr: Instruction) -> set[int]:
    """Registers that the instruction writes: `rd`, always a register operand."""
    return {
        value
        for operand, value in zip(instr.spec.operands, instr.values, strict=True)
        if operand.kind is Kind.REGISTER and operand.name == "rd" and isinstance(value, int)
    }


def _edited(code: Code, inserted: Mapping[int, Instruction], removed: set[int]) -> Code:
    """The code with instructions put in before some places and others taken out; skips keep their targets."""
    instructions: list[Instruction] = []
    debug: list[int] = []
    new_place: list[int] = []
    for place, instr in enumerate(code.instructions):
        new_place.append(len(instructions))
        if place in inserted:
            instructions.append(inserted[place])
            debug.append(code.debug[place - 1])
        if place not in removed:
            instructions.append(instr)
            debug.append(code.debug[place])
    for place, instr in enumerate(instructions):
        if instr.mnemonic == "skipz":
            target = instr["target"]
            assert isinstance(target, int)
            instructions[place] = instr.with_value("target", new_place[target])
    return Code(tuple(instructions), tuple(debug), code.sources)
