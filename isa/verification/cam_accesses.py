"""What an instruction of extension C reads and writes, and what its operands must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from isa.verification.access_ranges import ONE, Access, Operands
from isa.verification.linear import Linear
from isa.verification.register_state import bounds_of
from isa.verification.scalar_rules import RULES

if TYPE_CHECKING:
    from isa.cam import Cam


def cam_capacities(cam: Cam) -> dict[str, int]:
    """Sizes of the memories of a CAM, by space."""
    return {"key": cam.keys, "value": cam.values, "candidate": cam.candidates, "value_row": cam.value_rows}


def _number(value: int) -> Linear:
    return Linear((), value)


def _cam(operands: Operands) -> Cam:
    assert operands.cam is not None
    return operands.cam


def _words(operands: Operands, name: str, count: int, writes: bool = False) -> Access:
    return Access(name, "sb", operands.value(name), _number(count), True, not writes, writes)


def _range(operands: Operands, name: str, space: str, count: Linear, writes: bool) -> Access:
    return Access(name, space, operands.value(name), count, True, not writes, writes)


def _cstore(operands: Operands) -> Iterator[Access]:
    yield _words(operands, "a", operands.number("dims"))
    yield _range(operands, "key", "key", ONE, True)


def _cvalue(operands: Operands) -> Iterator[Access]:
    yield _words(operands, "a", operands.number("elements"))
    yield _range(operands, "value", "value", ONE, True)


def _cfetch(operands: Operands) -> Iterator[Access]:
    """Which values are read depends on the candidates."""
    top = _number(operands.number("top"))
    yield _range(operands, "entry", "candidate", top, False)
    yield _range(operands, "value", "value", ONE, False)
    yield _range(operands, "row", "value_row", top, True)


def _cquery(operands: Operands) -> Iterator[Access]:
    yield _words(operands, "a", operands.number("dims"))


def _cprog(operands: Operands) -> Iterator[Access]:
    rows = _number(_cam(operands).rows)
    keys = RULES["min"](operands.unknowns, operands.state.facts, operands.value("count"), rows)
    yield _range(operands, "key", "key", keys, False)


def _csearch(operands: Operands) -> Iterator[Access]:
    yield _range(operands, "entry", "candidate", _number(operands.number("top")), True)


def _ranked(operands: Operands) -> Iterator[Access]:
    yield Access("count", "candidate", _number(0), operands.value("count"), True, True, False)


def _nothing(operands: Operands) -> Iterator[Access]:
    yield from ()


def _cmac(operands: Operands) -> Iterator[Access]:
    yield _words(operands, "dst", operands.number("len"), True)


CAM_RULES: Mapping[str, Callable[[Operands], Iterator[Access]]] = {
    "cstore": _cstore,
    "cvalue": _cvalue,
    "cfetch": _cfetch,
    "cquery": _cquery,
    "cprog": _cprog,
    "csearch": _csearch,
    "cmerge": _ranked,
    "ctop": _ranked,
    "cexp": _nothing,
    "cdiv": _nothing,
    "cmac": _cmac,
}
"""What each instruction of extension C touches when none of its counts is zero."""


def cam_errors(operands: Operands) -> Iterator[str]:
    """What is wrong with sizes in an instruction of extension C."""
    cam = _cam(operands)
    bounds = {
        "dims": cam.columns,
        "elements": cam.value_elements,
        "top": cam.tile_top,
        "bits": cam.code_bits,
        "keep": cam.kept,
        "rows": cam.kept,
        "len": cam.value_elements if operands.built.mnemonic == "cmac" else cam.kept,
    }
    for name, most in bounds.items():
        if operands.has(name) and not 1 <= operands.number(name) <= most:
            yield f"'{name}' is {operands.number(name)}; allowed: 1 to {most}"
    if operands.has("half"):
        low, high = bounds_of(operands.unknowns, operands.value("half"), operands.state.facts)
        if low < 0 or high > 1:
            yield f"'half' can be {low} to {high}; allowed: 0 to 1"
