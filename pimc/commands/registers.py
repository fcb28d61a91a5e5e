"""The option `--set NAME=N`, and the entry and registers that it is for."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isa import Program


def add_set(parser: ArgumentParser, text: str) -> None:
    """Declare `--set`."""
    parser.add_argument("--set", action="append", default=[], type=_register, metavar="NAME=N", help=text)


def _register(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if not name or not value.isdigit():
        raise ArgumentTypeError(f"'{text}' is not NAME=N, for example kv_length=128")
    return name, int(value)


def entry_name(program: Program, asked: str | None) -> str:
    """The entry that is asked for, or the only one.

    Raises:
        InputError: there are several entries and none is asked for, or none of this name.
    """
    from isa import InputError

    check_entry(program, asked)
    if asked is not None:
        return asked
    if len(program.entries) != 1:
        raise InputError("the program has several entries", help=f"give --entry: {', '.join(program.entries)}")
    return next(iter(program.entries))


def check_entry(program: Program, asked: str | None) -> None:
    """Refuse an entry that the program does not have; raises `InputError`."""
    from isa import InputError

    if asked is not None and asked not in program.entries:
        raise InputError(f"the program has no entry '{asked}'", notes=[f"its entries are {', '.join(program.entries)}"])


def entry_registers(program: Program, entry: str, given: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Values of all registers of an entry: those that are given, the others at their lowest."""
    asked = program.entries[entry].registers if entry in program.entries else ()
    return {symbol.name: symbol.low for symbol in program.registers if symbol.name in asked} | dict(given)
