"""The part of a program that an entry concerns."""

from __future__ import annotations

from isa import InputError, Program
from pimc.simulator.host.inputs import input_ports


def part_of(program: Program, entry: str | None) -> Program:
    """What concerns an entry: the whole program, unless it is one of several models.

    Raises:
        InputError: such a program needs the name of an entry.
    """
    stages = program.stages
    if not stages:
        return program
    if entry not in stages:
        what = "it is not said which to run" if entry is None else f"none is called '{entry}'"
        notes = [f"'{name}' takes {', '.join(input_ports(program.part(name)))}" for name in stages]
        raise InputError(f"the program has an entry for each model; {what}", notes=notes)
    return program.part(entry)
