"""Lines of `.pimasm` text as typed values, by the grammar in assembly.lark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from isa.errors import AssemblyError, Place

_TOKEN_NAMES = {
    "$END": "end of line",
    "NAME": "a name",
    "REGISTER": "a register",
    "INTEGER": "a number",
    "STRING": 'a "text"',
    "DIRECTIVE": "a directive",
    "SIGN": "'+'",
    "COMMA": "','",
    "COLON": "':'",
    "EQUAL": "'='",
    "LSQB": "'['",
    "RSQB": "']'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
}
"""What a person calls a terminal; the further kinds of numbers are left out of the list of what is expected."""


class Term(NamedTuple):
    """One term of a sum: sign 1 or -1, kind of token (REGISTER, INTEGER, NAME, ...), text, 1-based column."""

    sign: int
    kind: str
    text: str
    column: int


@dataclass(frozen=True)
class Value:
    """Value of an operand.

    Attributes:
        terms: The sum, in the order of the text.
        bracketed: Whether it stands in `[ ]`.
        column: Where it starts.
        text: How it was written.
    """

    terms: tuple[Term, ...]
    bracketed: bool
    column: int
    text: str


class Operand(NamedTuple):
    """An operand as written; `name` is `None` for a positional one."""

    name: str | None
    value: Value
    column: int


class Argument(NamedTuple):
    """An argument of a directive as written, its value still as text; `name` is `None` for a positional one."""

    name: str | None
    text: str
    column: int


class Name(NamedTuple):
    """A name and where it stands."""

    text: str
    column: int


@dataclass(frozen=True)
class Line:
    """A line that is not empty.

    Attributes:
        place: File, line, and the text.
        label: Label that it defines.
        mnemonic: Mnemonic of its instruction.
        operands: Operands of the instruction.
        directive: Its directive, with the dot.
        arguments: Arguments of the directive.
    """

    place: Place
    label: Name | None = None
    mnemonic: Name | None = None
    operands: tuple[Operand, ...] = ()
    directive: Name | None = None
    arguments: tuple[Argument, ...] = ()

    def error(self, message: str, column: int, help: str | None = None) -> AssemblyError:
        """An error at a column of this line."""
        place = Place(self.place.file, self.place.line, column, text=self.place.text)
        return AssemblyError(message, place, help=help)


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("assembly.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=False)


def parse_line(text: str, place: Place) -> Line:
    """Read one line; raises `AssemblyError` that says what was expected."""
    line = Line(place)
    parser: Any = _parser()
    try:
        tree: Tree[Token] = parser.parse(text)
    except UnexpectedToken as problem:
        token = cast("Token", problem.token)
        at_end = token.type == "$END"
        found = "end of line" if at_end else f"'{token}'"
        column = len(text.partition(";")[0].rstrip()) + 1 if at_end else problem.column
        expected = _expected(problem.accepts or problem.expected)
        raise line.error(f"unexpected {found}, expected {expected}", column) from None
    except UnexpectedCharacters as problem:
        found = text[problem.column - 1]
        raise line.error(f"unexpected '{found}', expected {_expected(problem.allowed)}", problem.column) from None
    return _line(tree, place, text)


def _expected(terminals: Any) -> str:
    names = [name for terminal, name in _TOKEN_NAMES.items() if terminal in terminals]
    return " or ".join(names) if len(names) < 3 else ", ".join(names[:-1]) + f" or {names[-1]}"


def _line(tree: Tree[Token], place: Place, text: str) -> Line:
    parts: Mapping[str, Tree[Token]] = {str(part.data): part for part in _trees(tree)}
    label, built, directive = (parts.get(name) for name in ("label", "instruction", "directive"))
    return Line(
        place,
        _name(label) if label else None,
        _name(built) if built else None,
        tuple(_operand(each, text) for each in _items(built, "operands")),
        _name(directive) if directive else None,
        tuple(_argument(each, text) for each in _items(directive, "arguments")),
    )


def _trees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _tokens(tree: Tree[Token]) -> list[Token]:
    return [child for child in tree.children if isinstance(child, Token)]


def _name(tree: Tree[Token]) -> Name:
    token = _tokens(tree)[0]
    return Name(str(token), token.column or 1)


def _items(tree: Tree[Token] | None, kind: str) -> list[Tree[Token]]:
    if tree is None:
        return []
    return [item for group in _trees(tree) if group.data == kind for item in _trees(group)]


def _operand(tree: Tree[Token], text: str) -> Operand:
    inner = _trees(tree)[0]
    if inner.data == "named_operand":
        name = _name(inner)
        return Operand(name.text, _value(_trees(inner)[0], text), name.column)
    value = _value(inner, text)
    return Operand(None, value, value.column)


def _value(tree: Tree[Token], text: str) -> Value:
    column, written = tree.meta.column, text[tree.meta.start_pos : tree.meta.end_pos]
    if tree.data == "channels":
        return Value((Term(1, "CHANNELS", written, column),), False, column, written)
    total = _trees(tree)[0] if tree.data == "address" else tree
    terms: list[Term] = []
    sign = 1
    for child in total.children:
        if isinstance(child, Token):
            sign = -1 if child == "-" else 1
        else:
            token = _tokens(child)[0]
            terms.append(Term(sign, token.type, str(token), token.column or 1))
            sign = 1
    return Value(tuple(terms), tree.data == "address", column, written)


def _argument(tree: Tree[Token], text: str) -> Argument:
    inner = _trees(tree)[0]
    if inner.data == "named_argument":
        name, fact = _name(inner), _trees(inner)[0]
        return Argument(name.text, text[fact.meta.start_pos : fact.meta.end_pos], fact.meta.column)
    return Argument(None, text[inner.meta.start_pos : inner.meta.end_pos], inner.meta.column)
