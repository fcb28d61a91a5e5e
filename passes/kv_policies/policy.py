"""What a policy is: a frozen dataclass of parameters that chooses mechanisms for a layer."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

from isa import InputError
from passes.kv_policies.mechanisms import Compression

Number = int | float | str
"""Types that parameters have."""


@dataclass(frozen=True)
class Layer:
    """One layer of a model, as far as policies look at it.

    Attributes:
        number: From 0, over the layers whose attention keeps keys and values of its own tokens.
        count: Number of those layers.
        head_dim: Elements of a key head.
        value_dim: Elements of a value head.
    """

    number: int
    count: int
    head_dim: int
    value_dim: int


class Policy(Protocol):
    """Parameters of a policy; checked when it is made.

    The first line of its docstring says what it does.

    Attributes:
        name: Name in specifications.
        mechanism: What it decides: `retention`, `encoding`, `selection`, or `nothing`.
        formula: The rule, in a form that fits a terminal.
        source: The paper.
        differences: Where this one differs from the paper's.
    """

    name: ClassVar[str]
    mechanism: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]
    differences: ClassVar[str]

    def compress(self, layer: Layer) -> Compression:
        """The mechanisms of one layer; raises `InputError` when the layer's shape does not allow them."""
        ...


@dataclass(frozen=True)
class Parameter:
    """One parameter of a policy.

    Attributes:
        name: Name in specifications.
        default: Value when it is not given; `None` when it follows from others, as `meaning` says.
        meaning: What it is, with unit.
        choices: The values that it can have, or empty for a range.
        least: Smallest value of a range.
        most: Largest value of a range.
        multiple: A value is a multiple of this.
        is_whole: Whether it is an integer.
    """

    name: str
    default: Number | None
    meaning: str
    choices: tuple[Number, ...] = ()
    least: float = 0
    most: float = 0
    multiple: int = 1
    is_whole: bool = True

    @property
    def allowed(self) -> str:
        """The values that it can have, in words."""
        if self.choices:
            return " or ".join(str(choice) for choice in sorted(self.choices))
        if not self.is_whole:
            return f"number from {self.least:g} to {self.most:g}"
        kind = "integer" if self.multiple == 1 else f"multiple of {self.multiple}"
        return f"{kind} from {int(self.least):,} to {int(self.most):,}"

    @property
    def note(self) -> str:
        """Name, meaning and values, as messages say them."""
        return f"{self.name}: {self.meaning}; {self.allowed}"

    def read(self, text: str) -> Number:
        """`text` as a value; raises `InputError` when it is not one."""
        try:
            value: Number = int(text) if self.is_whole else float(text)
        except ValueError:
            value = text
        return self.check(value)

    def check(self, value: Number) -> Number:
        """`value` itself; raises `InputError` when it is not allowed."""
        fits = value in self.choices if self.choices else self._is_in_range(value)
        if not fits:
            raise InputError(f"'{self.name}' cannot be {value}", notes=[self.note])
        return value

    def _is_in_range(self, value: Number) -> bool:
        if isinstance(value, str | bool) or (self.is_whole and not isinstance(value, int)):
            return False
        return self.least <= value <= self.most and (not self.is_whole or value % self.multiple == 0)


def whole(default: int | None, least: int, most: int, meaning: str, multiple: int = 1) -> Any:
    """A field of a policy that is an integer in a range, a multiple of `multiple`."""
    return dataclasses.field(default=default, metadata=_described(meaning, least=least, most=most, multiple=multiple))


def real(default: float | None, least: float, most: float, meaning: str) -> Any:
    """A field of a policy that is a number in a range."""
    return dataclasses.field(default=default, metadata=_described(meaning, least=least, most=most, is_whole=False))


def choice(default: Number | None, choices: tuple[Number, ...], meaning: str) -> Any:
    """A field of a policy that is one of some values."""
    return dataclasses.field(default=default, metadata=_described(meaning, choices=choices))


def _described(meaning: str, **facts: Any) -> dict[str, Any]:
    return {"meaning": meaning, **facts}


def parameters(kind: type[Policy]) -> tuple[Parameter, ...]:
    """The parameters of a policy in order."""
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(cast(Any, kind))
    return tuple(Parameter(field.name, cast(Number | None, field.default), **field.metadata) for field in fields)


def check_parameters(policy: Policy) -> None:
    """Raise `InputError` for the first parameter that is out of its range; derived ones may be absent."""
    for parameter in parameters(type(policy)):
        value: Number | None = getattr(policy, parameter.name)
        if value is not None or parameter.default is not None:
            parameter.check("none" if value is None else value)


def require(holds: bool, message: str, help: str | None = None, notes: Iterable[str] = ()) -> None:
    """Raise `InputError` unless something holds."""
    if not holds:
        raise InputError(message, notes=[*notes], help=help)


def require_divides(width: int, layer: Layer, source: str) -> None:
    """Raise `InputError` unless runs of `width` channels divide the heads of a layer."""
    for size, what in ((layer.head_dim, "key"), (layer.value_dim, "value")):
        require(
            size % width == 0,
            f"a {what} head of this model has {size} elements, which runs of {width} do not divide",
            f"give {source} a divisor of {size}",
        )


def suggestion(wish: str, known: Iterable[str], what: str) -> str:
    """Help for a name that does not exist: a similar one, or all there are."""
    names = sorted(known)
    close = difflib.get_close_matches(wish.lower(), names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"{what}: {', '.join(names) or 'none'}"
