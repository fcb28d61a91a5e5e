"""Reading of `POLICY[:parameter=value,...] [+ POLICY...] [@ LAYERS] ; ...`: which policies compress which layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from isa import InputError, Place
from passes.kv_policies.combination import check_policies
from passes.kv_policies.policy import Policy, parameters, suggestion
from passes.kv_policies.registry import POLICIES
from passes.kv_policies.tokens import Token, tokens_of

_ARGUMENT = "--kv"


@dataclass(frozen=True)
class Clause:
    """Policies for some layers.

    Attributes:
        text: The policies as they are written, without the layers.
        policies: At most one for each mechanism.
        layers: Ranges of layer numbers, both ends included; `None` for all layers.
        place: Where it begins.
        layers_place: Where the layers are named.
    """

    text: str
    policies: tuple[Policy, ...]
    layers: tuple[tuple[int, int], ...] | None
    place: Place
    layers_place: Place | None = None

    def covers(self, layer: int) -> bool:
        """Whether it speaks about a layer."""
        return self.layers is None or any(first <= layer <= last for first, last in self.layers)


@dataclass(frozen=True)
class KvSpecification:
    """Which policies compress which layers of a model.

    Attributes:
        text: What was read, on one line without comments.
        clauses: In order; later ones override earlier ones for their layers.
        label: What tables call it: the text, or `@NAME` of the file where it was read.
    """

    text: str
    clauses: tuple[Clause, ...]
    label: str


def load_kv(argument: str) -> KvSpecification:
    """Read a specification, or with `@FILE` the one in a file.

    Raises:
        InputError: the file cannot be read, or the text is refused (see `parse_kv`).
    """
    name = argument.strip()
    if not name.startswith("@"):
        return parse_kv(argument)
    path = name[1:].strip()
    try:
        return parse_kv(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise InputError(f"the policies cannot be read: {reason}", Place(path)) from None


def parse_kv(text: str, file: str = _ARGUMENT) -> KvSpecification:
    """Read a specification.

    Args:
        text: Clauses separated by `;`. Lines may be broken anywhere, `#` begins a comment.
        file: Name for messages.

    Raises:
        InputError: the text has another form, a policy or parameter does not exist, a value is out of its range, or
            policies contradict each other; the place is that of the word.
    """
    tokens = list(tokens_of(text, file))
    clauses = _Reader(tokens).clauses()
    condensed = _condensed(tokens)
    return KvSpecification(condensed, clauses, condensed if file == _ARGUMENT else f"@{Path(file).name}")


def _condensed(tokens: Sequence[Token]) -> str:
    spaced = {"+": " + ", "@": " @ ", ";": " ; "}
    return "".join(spaced.get(token.text, token.text) for token in tokens).strip(" ;")


_Result = TypeVar("_Result")


def _placed(place: Place, make: Callable[[], _Result]) -> _Result:
    """What `make` gives; an error without a place gets this one."""
    try:
        return make()
    except InputError as problem:
        raise InputError(problem.message, problem.place or place, problem.notes, problem.help) from None


class _Reader:
    """The tokens, and how far they are read."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._next = 0

    def clauses(self) -> tuple[Clause, ...]:
        found: list[Clause] = []
        while self._token.text:
            if not self._accept(";"):
                found.append(self._clause())
                if self._token.text and self._token.text != ";":
                    self._refuse("'+', '@' or ';'")
        if not found:
            raise InputError("no policy is named", self._token.place, help=f"policies: {', '.join(POLICIES)}")
        return tuple(found)

    def _clause(self) -> Clause:
        place, first = self._token.place, self._next
        policies = [self._policy()]
        while self._accept("+"):
            here = self._token.place
            policies.append(self._policy())
            _placed(here, partial(check_policies, tuple(policies)))
        text, layers_place = _condensed(self._tokens[first : self._next]), self._token.place
        layers = self._layers() if self._accept("@") else None
        return Clause(text, tuple(policies), layers, place, layers_place if layers else None)

    def _policy(self) -> Policy:
        name = self._take("the name of a policy", self._token.is_word)
        kind = POLICIES.get(name.text)
        if kind is None:
            raise InputError(
                f"there is no policy '{name.text}'", name.place, help=suggestion(name.text, POLICIES, "policies")
            )
        given: dict[str, object] = {}
        if self._accept(":"):
            self._parameter(kind, given)
            while self._accept(","):
                self._parameter(kind, given)
        return _placed(name.place, partial(kind, **given))

    def _parameter(self, kind: type[Policy], given: dict[str, object]) -> None:
        known = {parameter.name: parameter for parameter in parameters(kind)}
        name = self._take(f"a parameter of {kind.name}", self._token.is_word)
        if name.text not in known:
            text = f"the policy '{kind.name}' has no parameter '{name.text}'"
            raise InputError(text, name.place, help=suggestion(name.text, known, f"parameters of {kind.name}"))
        if name.text in given:
            raise InputError(f"the parameter '{name.text}' is given twice", name.place)
        parameter = known[name.text]
        if not self._accept("="):
            self._refuse(f"'=' and a value of '{name.text}'", [parameter.note])
        value = self._take(f"a value of '{name.text}'", self._token.is_value, [parameter.note])
        given[name.text] = _placed(value.place, partial(parameter.read, value.text))

    def _layers(self) -> tuple[tuple[int, int], ...]:
        ranges = [self._range()]
        while self._accept(","):
            ranges.append(self._range())
        return tuple(ranges)

    def _range(self) -> tuple[int, int]:
        place = self._token.place
        first = int(self._take("the number of a layer", self._token.text.isdecimal()).text)
        last = (
            int(self._take("the number of a layer", self._token.text.isdecimal()).text) if self._accept("-") else first
        )
        if last < first:
            raise InputError(f"the layers {first}-{last} run backwards", place, help=f"write {last}-{first}")
        return first, last

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _accept(self, mark: str) -> bool:
        """Go over a mark; returns whether it was there."""
        is_there = self._token.text == mark
        self._next += is_there
        return is_there

    def _take(self, wanted: str, fits: bool, notes: Sequence[str] = ()) -> Token:
        token = self._token
        if not fits:
            self._refuse(wanted, notes)
        self._next += 1
        return token

    def _refuse(self, wanted: str, notes: Sequence[str] = ()) -> NoReturn:
        raise InputError(f"expected {wanted}, not {self._token.shown}", self._token.place, notes=notes)
