"""Operand values of instructions from their text."""

from __future__ import annotations

import difflib
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from isa.assembly.syntax import Line, Term, Value
from isa.errors import AssemblyError
from isa.instructions import INSTRUCTIONS
from isa.program import Indexed, Instruction, OperandValue, Symbol
from isa.spec import REGISTER_COUNT, SPACE_OF_KIND, InstructionSpec, Kind, Operand

_BINARY32 = struct.Struct("<f")
_NUMBERS = ("INTEGER", "HEXADECIMAL")


@dataclass(frozen=True)
class Scope:
    """What names in operands can mean.

    Attributes:
        symbols: Address symbols, by name.
        labels: Instruction numbers, by label.
        channels: Number of channels that `all` stands for, or `None` when the machine has none.
    """

    symbols: Mapping[str, Symbol]
    labels: Mapping[str, int]
    channels: int | None


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """The help line for an unknown name."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean '{close[0]}'?" if close else otherwise


def assemble_instruction(line: Line, scope: Scope) -> tuple[Instruction | None, list[AssemblyError]]:
    """The instruction on a line, or everything that is wrong with it."""
    mnemonic = line.mnemonic
    assert mnemonic is not None
    spec = INSTRUCTIONS.by_mnemonic.get(mnemonic.text)
    if spec is None:
        hint = did_you_mean(mnemonic.text, INSTRUCTIONS.by_mnemonic, "`pimc isa` lists the instructions")
        return None, [line.error(f"unknown instruction '{mnemonic.text}'", mnemonic.column, hint)]
    written, errors = _match(line, spec)
    values: list[OperandValue] = []
    for operand in spec.operands:
        if operand.name not in written:
            if operand.default is not None:
                values.append(operand.default)
            elif not errors:
                errors.append(_missing(line, spec, operand))
            continue
        try:
            values.append(_value(line, operand, written[operand.name], scope))
        except AssemblyError as problem:
            errors.append(problem)
    if errors:
        return None, errors
    return Instruction(spec, tuple(values)), []


def _match(line: Line, spec: InstructionSpec) -> tuple[dict[str, Value], list[AssemblyError]]:
    """Which value was written for which operand."""
    names = [operand.name for operand in spec.operands]
    written: dict[str, Value] = {}
    errors: list[AssemblyError] = []
    named = False
    for index, (name, value, column) in enumerate(line.operands):
        named = named or name is not None
        if name is None and named:
            errors.append(line.error("an operand without a name after one with a name", column, _usage(spec)))
        elif name is None and index >= len(names):
            errors.append(line.error(f"{spec.mnemonic} takes {len(names)} operands", column, _usage(spec)))
        elif name is not None and name not in names:
            hint = did_you_mean(name, names, _usage(spec))
            errors.append(line.error(f"{spec.mnemonic} has no operand '{name}'", column, hint))
        elif (key := name or names[index]) in written:
            errors.append(line.error(f"operand '{key}' is given twice", column))
        else:
            written[key] = value
    return written, errors


def _usage(spec: InstructionSpec) -> str:
    operands = (each.name if each.default is None else f"[{each.name}]" for each in spec.operands)
    return f"operands of {spec.mnemonic}: {', '.join(operands) or 'none'}"


def _missing(line: Line, spec: InstructionSpec, operand: Operand) -> AssemblyError:
    column = len((line.place.text or "").partition(";")[0].rstrip()) + 1
    return line.error(f"operand '{operand.name}' of {spec.mnemonic} is missing", column, f"it is the {operand.meaning}")


def _value(line: Line, operand: Operand, value: Value, scope: Scope) -> OperandValue:
    if operand.kind is Kind.REGISTER:
        return _register(line, _only_term(line, value, "a register r0 to r31"))
    if operand.kind is Kind.CHOICE:
        return _choice(line, operand, _only_term(line, value, "a name"))
    if operand.kind is Kind.FLOAT:
        return _float(line, _only_term(line, value, "a number"))
    if operand.kind is Kind.LABEL:
        return _label(line, _only_term(line, value, "a label"), scope)
    built = _sum(line, operand, value, scope)
    return _fitting(line, operand, value, built)


def _only_term(line: Line, value: Value, what: str) -> Term:
    if value.bracketed or len(value.terms) != 1:
        raise line.error(f"expected {what}, found '{value.text}'", value.column)
    return value.terms[0]


def _register(line: Line, term: Term) -> int:
    number = int(term.text[1:]) if term.kind == "REGISTER" and term.sign == 1 else REGISTER_COUNT
    if number >= REGISTER_COUNT:
        raise line.error(f"expected a register r0 to r{REGISTER_COUNT - 1}, found '{term.text}'", term.column)
    return number


def _choice(line: Line, operand: Operand, term: Term) -> str:
    if term.text not in operand.choices:
        hint = did_you_mean(term.text, operand.choices)
        message = f"'{term.text}' is no {operand.name}; expected one of {', '.join(operand.choices)}"
        raise line.error(message, term.column, hint)
    return term.text


def _float(line: Line, term: Term) -> float:
    if term.kind == "NAN_BITS":
        value = float(_BINARY32.unpack(int(term.text[4:], 16).to_bytes(4, "little"))[0])
        if term.sign == 1 and value != value:
            return value
    elif term.kind in ("FLOAT", "INTEGER") or term.text in ("inf", "nan"):
        try:
            return float(_BINARY32.unpack(_BINARY32.pack(term.sign * float(term.text)))[0])
        except OverflowError:
            raise line.error(f"{term.text} is outside the range of binary32", term.column) from None
    raise line.error(f"expected a number, found '{term.text}'", term.column)


def _label(line: Line, term: Term, scope: Scope) -> int:
    if term.kind == "INTEGER" and int(term.text) < 1 << 24:
        return int(term.text)
    if term.kind != "NAME":
        raise line.error(f"expected a label, found '{term.text}'", term.column)
    if term.text not in scope.labels:
        raise line.error(f"unknown label '{term.text}'", term.column, did_you_mean(term.text, scope.labels))
    return scope.labels[term.text]


def _sum(line: Line, operand: Operand, value: Value, scope: Scope) -> OperandValue:
    """Immediate, or immediate + register."""
    immediate = 0
    register: int | None = None
    for term in value.terms:
        if term.kind != "REGISTER":
            immediate += term.sign * _number(line, operand, term, scope)
        elif register is not None or term.sign < 0 or not operand.indexed:
            what = "takes no register" if not operand.indexed else "takes one register, with a plus sign"
            raise line.error(f"operand '{operand.name}' {what}", term.column)
        else:
            register = _register(line, term)
    if value.bracketed and operand.kind not in SPACE_OF_KIND:
        raise line.error(f"operand '{operand.name}' is no address; write it without brackets", value.column)
    return immediate if register is None else Indexed(immediate, register)


def _number(line: Line, operand: Operand, term: Term, scope: Scope) -> int:
    if operand.kind is Kind.CHANNELS and term.kind in ("CHANNELS", "INTEGER", "NAME"):
        return _channels(line, term, scope)
    if term.kind in _NUMBERS:
        return int(term.text, 0) if term.kind == "HEXADECIMAL" else int(term.text)
    space = SPACE_OF_KIND.get(operand.kind)
    if term.kind != "NAME" or space is None:
        raise line.error(f"expected an integer, found '{term.text}'", term.column)
    symbol = scope.symbols.get(term.text)
    if symbol is None:
        known: Collection[str] = [name for name, each in scope.symbols.items() if each.space == space]
        raise line.error(f"unknown symbol '{term.text}'", term.column, did_you_mean(term.text, known))
    if symbol.space != space:
        message = f"symbol '{term.text}' lies in space {symbol.space}; operand '{operand.name}' addresses {space}"
        raise line.error(message, term.column)
    return symbol.address


def _channels(line: Line, term: Term, scope: Scope) -> int:
    """Mask of `all`, of one channel number, or of a list `0-9,12`."""
    if term.text == "all" and scope.channels is not None:
        return (1 << scope.channels) - 1
    if term.kind == "NAME":
        what = "the machine has no channels" if term.text == "all" else "expected all, 0-9,12, 0x3ff or a register"
        raise line.error(f"'{term.text}' names no channels: {what}", term.column)
    mask = 0
    for part in term.text.split(","):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if low > high or high > 31:
            raise line.error(f"'{part}' is no range of channels 0 to 31", term.column)
        mask |= (1 << high + 1) - (1 << low)
    return mask


def _fitting(line: Line, operand: Operand, value: Value, built: OperandValue) -> OperandValue:
    immediate = built.immediate if isinstance(built, Indexed) else int(built)
    low, high = (-1 << operand.bits - 1, (1 << operand.bits - 1) - 1)
    if operand.kind is not Kind.SIGNED:
        low, high = 0, (1 << operand.bits) - 1
    if not low <= immediate <= high:
        raise line.error(f"{immediate} does not fit operand '{operand.name}': {low} to {high}", value.column)
    return built
