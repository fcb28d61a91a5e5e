"""Loops and skips of a program: pairs of `loop` and `end`, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isa.program import Instruction


def loop_ends(code: Sequence[Instruction]) -> dict[int, int]:
    """For each `loop` of well-formed code the number of its `end`."""
    ends: dict[int, int] = {}
    opened: list[int] = []
    for index, built in enumerate(code):
        if built.mnemonic == "loop":
            opened.append(index)
        elif built.mnemonic == "end":
            ends[opened.pop()] = index
    return ends


def control_flow_errors(code: Sequence[Instruction], entries: Sequence[tuple[str, int]]) -> Iterator[tuple[int, str]]:
    """(instruction, message) for unbalanced loops, and for skips and entries that enter or leave a body.

    Args:
        code: The instructions.
        entries: Name and first instruction of each entry.
    """
    bodies, unbalanced = _bodies(code)
    yield from unbalanced
    for index, built in enumerate(code):
        if built.mnemonic != "skipz":
            continue
        target = int(str(built["target"]))
        if target <= index:
            yield index, f"skipz goes back to instruction {target}"
        elif target >= len(code):
            yield index, f"skipz goes to instruction {target}, the code has {len(code)}"
        elif bodies[target] != bodies[index]:
            yield index, f"skipz goes to instruction {target}, which is not in the same loop body"
    for name, address in entries:
        if 0 <= address < len(code) and bodies[address] is not None:
            yield address, f"entry '{name}' starts inside a loop"


def _bodies(code: Sequence[Instruction]) -> tuple[list[int | None], list[tuple[int, str]]]:
    """For each instruction the `loop` around it (an `end` belongs to its body), and what is unbalanced."""
    bodies: list[int | None] = []
    errors: list[tuple[int, str]] = []
    opened: list[int] = []
    for index, built in enumerate(code):
        bodies.append(opened[-1] if opened else None)
        if built.mnemonic == "loop":
            opened.append(index)
        elif built.mnemonic == "end" and opened:
            opened.pop()
        elif built.mnemonic == "end":
            errors.append((index, "`end` without a loop"))
    errors += [(index, "this loop has no `end`") for index in opened]
    return bodies, errors
