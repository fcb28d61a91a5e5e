"""Arguments of directives, read with their type."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from isa.assembly.operands import did_you_mean
from isa.assembly.syntax import Argument, Line
from isa.spec import REGISTER_COUNT
from isa.strict_json import strict_json
from isa.structure import NAME

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}\Z")
_REGISTER = re.compile(r"r[0-9]{1,2}\Z")


class Arguments:
    """Arguments of one directive, each of which must be read once.

    Raises:
        AssemblyError: from every method, when an argument is missing, of another type, or left over.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._positional = [each for each in line.arguments if each.name is None]
        self._named: dict[str, Argument] = {}
        for each in line.arguments:
            if each.name is not None and each.name in self._named:
                raise line.error(f"argument '{each.name}' is given twice", each.column)
            if each.name is not None:
                self._named[each.name] = each
        self._read: list[str] = []

    def has(self, name: str) -> bool:
        """Whether a named argument was given."""
        self._read.append(name)
        return name in self._named

    @property
    def left(self) -> int:
        """Positional arguments that were not read yet."""
        return len(self._positional)

    def next(self, what: str) -> Argument:
        """The next positional argument."""
        if not self._positional:
            column = len((self._line.place.text or "").partition(";")[0].rstrip()) + 1
            raise self._line.error(f"expected {what}", column)
        return self._positional.pop(0)

    def named(self, name: str) -> Argument:
        """A named argument."""
        self._read.append(name)
        if name not in self._named:
            column = len((self._line.place.text or "").partition(";")[0].rstrip()) + 1
            raise self._line.error(f"argument '{name}=' is missing", column)
        return self._named.pop(name)

    def name(self, what: str) -> str:
        """The next positional argument as a name."""
        argument = self.next(what)
        if not NAME.match(argument.text):
            raise self._line.error(f"expected {what}, found '{argument.text}'", argument.column)
        return argument.text

    def register(self) -> int:
        """The next positional argument as a register."""
        argument = self.next("a register")
        if not _REGISTER.match(argument.text) or int(argument.text[1:]) >= REGISTER_COUNT:
            message = f"expected a register r0 to r{REGISTER_COUNT - 1}, found '{argument.text}'"
            raise self._line.error(message, argument.column)
        return int(argument.text[1:])

    def integer(self, name: str) -> int:
        """A named integer."""
        argument = self.named(name)
        if not _INTEGER.match(argument.text):
            raise self._line.error(f"'{name}=' is an integer, found '{argument.text}'", argument.column)
        return int(argument.text)

    def choice(self, argument: Argument, choices: Sequence[str]) -> str:
        """An argument that is one of `choices`."""
        if argument.text not in choices:
            message = f"'{argument.text}' is not one of {', '.join(choices)}"
            raise self._line.error(message, argument.column, did_you_mean(argument.text, choices))
        return argument.text

    def text(self, name: str) -> str:
        """A named text in quotes."""
        return self.quoted(self.named(name))

    def quoted(self, argument: Argument) -> str:
        """An argument that is a text in quotes."""
        value = self.json(argument)
        if not isinstance(value, str):
            raise self._line.error(f'expected a "text", found {argument.text}', argument.column)
        return value

    def json(self, argument: Argument) -> Any:
        """An argument as a JSON value."""
        try:
            return strict_json(argument.text)
        except ValueError as problem:
            message = f"'{argument.text}' is not JSON: {problem}"
            raise self._line.error(message, argument.column) from None

    def finish(self) -> None:
        """Refuse arguments that nobody read."""
        left = [*self._positional, *self._named.values()]
        if not left:
            return
        first = min(left, key=lambda each: each.column)
        shown = f"{first.name}={first.text}" if first.name else first.text
        hint = did_you_mean(first.name, self._read) if first.name else None
        raise self._line.error(f"unexpected argument '{shown}'", first.column, hint)
