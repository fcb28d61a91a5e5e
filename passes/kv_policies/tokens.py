"""Words of a specification of policies, with their places."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from isa import InputError, Place

_TOKEN = re.compile(
    r"(?P<space>\s+|#[^\n]*)|(?P<word>[A-Za-z_]\w*)|(?P<number>\d[\w.]*(?:(?<=[eE])-\d+)?)|(?P<mark>\S)"
)
_MARKS = frozenset(":=,+@;-")


@dataclass(frozen=True)
class Token:
    """One word, number or mark.

    Attributes:
        text: As it is written; empty behind the last one.
        place: Where it stands.
    """

    text: str
    place: Place

    @property
    def is_word(self) -> bool:
        """Whether it can be a name."""
        return self.text[:1].isalpha() or self.text[:1] == "_"

    @property
    def is_value(self) -> bool:
        """Whether it can be the value of a parameter."""
        return self.is_word or self.text[:1].isdigit()

    @property
    def shown(self) -> str:
        """As messages name it."""
        return f"'{self.text}'" if self.text else "the end"


def tokens_of(text: str, file: str) -> Iterator[Token]:
    """The tokens of a text, and an empty one behind the last; spaces and comments are left out.

    Args:
        text: The specification.
        file: Its name for messages.

    Raises:
        InputError: a character has no meaning here.
    """
    for found in _TOKEN.finditer(text):
        if found["space"] is not None:
            continue
        place = _place(text, found.start(), file)
        if found["mark"] is not None and found["mark"] not in _MARKS:
            raise InputError(
                f"'{found['mark']}' means nothing in a specification of policies",
                place,
                help="write POLICY:name=value,... [+ POLICY...] [@ LAYERS] ; ...",
            )
        yield Token(found.group(), place)
    yield Token("", _place(text, len(text.rstrip()), file))


def _place(text: str, position: int, file: str) -> Place:
    line = text.count("\n", 0, position)
    start = text.rfind("\n", 0, position) + 1
    return Place(file, line + 1, position - start + 1, None, text.split("\n")[line])
