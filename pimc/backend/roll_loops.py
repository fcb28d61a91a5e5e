"""Rolls repeated stretches of code, such as the layers of a model, into hardware loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa import REGISTER_COUNT, Indexed, Instruction, Kind, OperandValue, Source, instruction

_LEAST_INSTRUCTIONS = 12
_LEAST_REPEATS = 3


@dataclass(frozen=True)
class Code:
    """Instructions with their origins.

    Attributes:
        instructions: In order.
        debug: For each instruction the index of its origin.
        sources: Origins.
    """

    instructions: tuple[Instruction, ...]
    debug: tuple[int, ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class _Repeat:
    """`count` stretches of `period` instructions from `start` on, alike but for addresses that grow evenly.

    Attributes:
        start: First instruction.
        period: Instructions of a stretch.
        count: Number of stretches.
        steps: (instruction of the stretch, operand) -> what the immediate grows by from one stretch to the next.
    """

    start: int
    period: int
    count: int
    steps: dict[tuple[int, int], int]

    @property
    def end(self) -> int:
        """Instruction after the last stretch."""
        return self.start + self.period * self.count


def roll_loops(code: Code) -> Code:
    """Replace the longest repeated stretch by a loop, and look again; the result computes and addresses the same.

    An operand whose address grows from stretch to stretch gets a register that grows with it; when it has a register
    already, the sum of both is computed just before its use. Rolled instructions come from the nodes of all stretches.
    """
    while True:
        repeat = _find_repeat(code)
        rolled = None if repeat is None else _roll(code, repeat)
        if rolled is None:
            return code
        code = rolled


def _find_repeat(code: Code) -> _Repeat | None:
    shapes = _shapes(code.instructions)
    best: _Repeat | None = None
    for period in _candidate_periods(shapes):
        for first, last in _runs(shapes[:-period] == shapes[period:]):
            found = _longest_in_run(code.instructions, first, last + period, period)
            if found is not None and (best is None or _saving(found) > _saving(best)):
                best = found
    return best


def _saving(repeat: _Repeat) -> int:
    return repeat.period * (repeat.count - 1) - 2 * len(set(repeat.steps.values())) - len(repeat.steps)


def _shapes(instructions: Sequence[Instruction]) -> NDArray[np.int64]:
    """A number for each instruction; equal numbers mean: alike but for immediates that may grow."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(_shape(i, at), len(numbers)) for at, i in enumerate(instructions)])


def _shape(instr: Instruction, position: int) -> object:
    parts: list[object] = [instr.mnemonic]
    for operand, value in zip(instr.spec.operands, instr.values, strict=True):
        if operand.kind is Kind.LABEL and isinstance(value, int):
            parts.append(value - position)
        elif operand.indexed and operand.kind is not Kind.CHANNELS:
            parts.append(value.register if isinstance(value, Indexed) else None)
        else:
            parts.append(value)
    return tuple(parts)


def _candidate_periods(shapes: NDArray[np.int64]) -> list[int]:
    """Distances between equal shapes that are worth a look: the most frequent ones."""
    last: dict[int, int] = {}
    counts: dict[int, int] = {}
    for position, shape in enumerate(shapes.tolist()):
        if shape in last:
            distance = position - last[shape]
            counts[distance] = counts.get(distance, 0) + 1
        last[shape] = position
    frequent = sorted(counts, key=lambda distance: (-counts[distance] * distance, distance))
    return [period for period in frequent if _LEAST_INSTRUCTIONS <= period <= len(shapes) // 2][:8]


def _runs(equal: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, last + 1) of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], equal, [False])).astype(np.int8)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def _longest_in_run(instructions: Sequence[Instruction], first: int, end: int, period: int) -> _Repeat | None:
    best: _Repeat | None = None
    for start in range(first, min(first + period, end)):
        count = (end - start) // period
        if count < _LEAST_REPEATS or (best is not None and count < best.count):
            continue
        if not _is_balanced(instructions[start : start + period]):
            continue
        found = _evenly_growing(instructions, start, period, count)
        if found is not None and _is_entered_by_a_skip(instructions, found):
            continue
        if found is not None and (best is None or found.count > best.count):
            best = found
    return best


def _is_balanced(stretch: Sequence[Instruction]) -> bool:
    """Whether loops and skips of the stretch begin and end inside it."""
    depth = 0
    for instr in stretch:
        depth += {"loop": 1, "end": -1}.get(instr.mnemonic, 0)
        if depth < 0 or instr.mnemonic == "halt":
            return False
    return depth == 0


def _is_entered_by_a_skip(instructions: Sequence[Instruction], repeat: _Repeat) -> bool:
    """Whether a skip from outside ends inside the stretches, so that they are not always run whole."""
    outside = [*range(repeat.start), *range(repeat.end, len(instructions))]
    targets = [_skip_end(instructions[at], at) for at in outside if instructions[at].mnemonic == "skipz"]
    return any(repeat.start < target < repeat.end for target in targets)


def _immediate(value: OperandValue) -> int | None:
    if isinstance(value, Indexed):
        return value.immediate
    return value if isinstance(value, int) else None


def _evenly_growing(instructions: Sequence[Instruction], start: int, period: int, count: int) -> _Repeat | None:
    """The longest even growth that begins at `start`, or `None` when it is too short."""
    steps: dict[tuple[int, int], int] = {}
    for place in range(period):
        instr = instructions[start + place]
        for position, operand in enumerate(instr.spec.operands):
            if not operand.indexed or operand.kind is Kind.CHANNELS:
                continue
            found = [_immediate(instructions[start + n * period + place].values[position]) for n in range(count)]
            values = [value for value in found if value is not None]
            step = values[1] - values[0]
            even = 1
            while even < count and values[even] - values[even - 1] == step:
                even += 1
            count = min(count, even)
            if count < _LEAST_REPEATS:
                return None
            if step:
                steps[place, position] = step
        if instr.mnemonic == "skipz" and not place < _skip_end(instr, start + place) - start <= period:
            return None
    return _Repeat(start, period, count, steps)


def _skip_end(instr: Instruction, position: int) -> int:
    target = instr["target"]
    return target if isinstance(target, int) else position


def _roll(code: Code, repeat: _Repeat) -> Code | None:
    free = _free_registers(code.instructions)
    growths = sorted(set(repeat.steps.values()))
    if len(free) < len(growths) + 1 + _most_sums(code, repeat):
        return None
    grown = dict(zip(growths, free, strict=False))
    counter, sums = free[len(growths)], free[len(growths) + 1 :]
    body, origin = _body(code, repeat, grown, sums)
    sources, renamed = _joint_sources(code, repeat)
    prologue = [instruction("li", register, 0) for register in grown.values()]
    prologue.append(instruction("loop", counter, repeat.count))
    epilogue = [instruction("add", register, register, growth) for growth, register in grown.items()]
    epilogue.append(instruction("end"))
    middle = [*prologue, *(instr for instr, _ in body), *epilogue]
    first_debug, last_debug = renamed[0], renamed[-1]
    debug = [first_debug] * len(prologue) + [renamed[place] for _, place in body] + [last_debug] * len(epilogue)
    before, after = code.instructions[: repeat.start], code.instructions[repeat.end :]
    shift = len(middle) - repeat.period * repeat.count
    moved = _retarget([*before, *middle, *after], repeat, origin, len(prologue), shift)
    return Code(
        tuple(moved), (*code.debug[: repeat.start], *debug, *code.debug[repeat.end :]), (*code.sources, *sources)
    )


def _most_sums(code: Code, repeat: _Repeat) -> int:
    """Largest number of operands of one instruction that have a register and grow."""
    counts = [0] * repeat.period
    for place, position in repeat.steps:
        value = code.instructions[repeat.start + place].values[position]
        counts[place] += isinstance(value, Indexed)
    return max(counts)


def _free_registers(instructions: Sequence[Instruction]) -> list[int]:
    used: set[int] = set()
    for instr in instructions:
        for operand, value in zip(instr.spec.operands, instr.values, strict=True):
            if isinstance(value, Indexed):
                used.add(value.register)
            elif operand.kind is Kind.REGISTER and isinstance(value, int):
                used.add(value)
    return [register for register in range(REGISTER_COUNT) if register not in used]


def _body(
    code: Code, repeat: _Repeat, grown: dict[int, int], sums: list[int]
) -> tuple[list[tuple[Instruction, int]], list[int]]:
    """The rolled stretch as (instruction, place in the old stretch), and where each old place begins in it."""
    body: list[tuple[Instruction, int]] = []
    origin: list[int] = []
    for place in range(repeat.period):
        origin.append(len(body))
        instr = code.instructions[repeat.start + place]
        unused = iter(sums)
        for position, operand in enumerate(instr.spec.operands):
            growth = repeat.steps.get((place, position))
            if growth is None:
                continue
            value, register = instr.values[position], grown[growth]
            if isinstance(value, Indexed):
                total = next(unused)
                body.append((instruction("add", total, value.register, Indexed(0, register)), place))
                register = total
            instr = instr.with_value(operand.name, Indexed(_immediate(value) or 0, register))
        body.append((instr, place))
    origin.append(len(body))
    return body, origin


def _joint_sources(code: Code, repeat: _Repeat) -> tuple[list[Source], list[int]]:
    """New origins that name the nodes of all stretches, and the index of the origin of each place."""
    sources: list[Source] = []
    known: dict[tuple[int, ...], int] = {}
    renamed: list[int] = []
    for place in range(repeat.period):
        same = tuple(code.debug[repeat.start + n * repeat.period + place] for n in range(repeat.count))
        if same not in known:
            known[same] = len(code.sources) + len(sources)
            parts = [code.sources[number] for number in same]
            name = f"{parts[0].node} .. {parts[-1].node}" if len(set(same)) > 1 else parts[0].node
            sources.append(Source(name, tuple(node for part in parts for node in part.onnx_nodes)))
        renamed.append(known[same])
    return sources, renamed


def _retarget(
    instructions: list[Instruction], repeat: _Repeat, origin: list[int], prologue: int, shift: int
) -> list[Instruction]:
    """Skips go to where their old targets are now."""

    def moved(target: int) -> int:
        if target <= repeat.start:
            return target
        if target >= repeat.end:
            return target + shift
        return repeat.start + prologue + origin[target - repeat.start]

    return [
        instr.with_value("target", moved(_skip_end(instr, 0))) if instr.mnemonic == "skipz" else instr
        for instr in instructions
    ]
