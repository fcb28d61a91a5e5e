"""The one tree of errors that a user can see, and how a diagnostic is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True)
class Place:
    """Where something is wrong: a file position, or a node of a model.

    Attributes:
        file: File name as the user gave it, or `None` when there is no file.
        line: 1-based line, 0 when the place is the whole file.
        column: 1-based column, 0 when the place is the whole line.
        node: Name of the ONNX or graph node, or `None`.
        text: The source line, for the caret.
    """

    file: str | None = None
    line: int = 0
    column: int = 0
    node: str | None = None
    text: str | None = None

    def __str__(self) -> str:
        position = [self.file or ""]
        if self.line:
            position.append(str(self.line))
        if self.column:
            position.append(str(self.column))
        where = ":".join(part for part in position if part)
        if self.node is None:
            return where
        return f"{where}: node '{self.node}'" if where else f"node '{self.node}'"


_Error = TypeVar("_Error", bound="PimcError")


class PimcError(Exception):
    """Something that the user gave is refused.

    Attributes:
        message: What is wrong, in one sentence without a final full stop.
        place: Where it is wrong.
        notes: Facts that explain it (shapes, what is allowed, the previous definition).
        help: What the user can do.
        others: Further independent errors of the same phase, printed below.
        exit_code: Exit status of the command line for this kind of error.
    """

    exit_code = 1

    def __init__(
        self, message: str, place: Place | None = None, notes: Sequence[str] = (), help: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.notes = tuple(notes)
        self.help = help
        self.others: tuple[PimcError, ...] = ()

    def __str__(self) -> str:
        where = str(self.place) if self.place else ""
        lines = [f"{where}: error: {self.message}" if where else f"error: {self.message}"]
        if self.place and self.place.text is not None:
            lines.append(f"  {self.place.text}")
            if self.place.column:
                lines.append("  " + " " * (self.place.column - 1) + "^")
        lines += [f"note: {note}" for note in self.notes]
        if self.help:
            lines.append(f"help: {self.help}")
        lines += [str(other) for other in self.others]
        return "\n".join(lines)


def joined(errors: Sequence[_Error]) -> _Error:
    """The first of several independent errors, with the others attached."""
    errors[0].others = tuple(errors[1:])
    return errors[0]


class InputError(PimcError):
    """A file, array, option or name that the user gave is not acceptable."""


class AssemblyError(InputError):
    """Assembly text that does not assemble."""


class EncodingError(InputError):
    """Bytes that are not a program."""


class MachineError(InputError):
    """A machine description that is not valid, or a program for another machine."""


class GraphError(PimcError):
    """A dataflow graph that breaks a rule of its level."""


class ProgramError(PimcError):
    """A program that the static program verifier refuses."""


class MismatchError(PimcError):
    """Outputs that differ from the reference by more than the tolerance."""

    exit_code = 3


class UnsupportedError(PimcError):
    """A valid model or request that this version cannot compile or run."""

    exit_code = 4


class MissingPackageError(PimcError):
    """An optional package that the request needs is not installed."""

    exit_code = 5


class ResourceLimitError(PimcError):
    """A request that does not fit the machine or the limits: demand and bound are in the notes."""

    exit_code = 6
