"""The typed program: instructions, entries, symbols, memory regions, data, debug lines; no text and no bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isa.instructions import INSTRUCTIONS
from isa.spec import InstructionSpec, Kind

_BINARY32_OVERFLOW = 2.0**128 - 2.0**103  # from here on, rounding to binary32 gives infinity


class Indexed(NamedTuple):
    """Value of an indexed operand that names a register: immediate + register."""

    immediate: int
    register: int

    def __str__(self) -> str:
        return f"{self.immediate}+r{self.register}"


OperandValue = int | float | str | Indexed
"""int for integers, labels, masks, addresses and register numbers; float; choice name; `Indexed`."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: a row of the table and a value for each of its operands, in row order."""

    spec: InstructionSpec
    values: tuple[OperandValue, ...]

    def __repr__(self) -> str:
        pairs = zip(self.spec.operands, self.values, strict=True)
        return " ".join((f"<{self.mnemonic}", *(f"{operand.name}={value}" for operand, value in pairs))) + ">"

    @property
    def mnemonic(self) -> str:
        """Name of the row."""
        return self.spec.mnemonic

    def __getitem__(self, name: str) -> OperandValue:
        for operand, value in zip(self.spec.operands, self.values, strict=True):
            if operand.name == name:
                return value
        raise KeyError(f"{self.mnemonic} has no operand '{name}'")

    def with_value(self, name: str, value: OperandValue) -> Instruction:
        """The same instruction with another value for operand `name`."""
        names = [operand.name for operand in self.spec.operands]
        values = list(self.values)
        values[names.index(name)] = value
        return replace(self, values=tuple(values))


def instruction(mnemonic: str, *positional: OperandValue, **named: OperandValue) -> Instruction:
    """Build an instruction from its mnemonic and operand values, positional in row order or by name.

    Left-out operands take the table's default.

    Raises:
        KeyError: unknown mnemonic or operand.
        ValueError: an operand is missing, given twice, or does not fit its field.
    """
    spec = INSTRUCTIONS[mnemonic]
    if len(positional) > len(spec.operands):
        raise ValueError(f"{mnemonic}: {len(positional)} operands given, {len(spec.operands)} allowed")
    given: dict[str, OperandValue | None] = dict(
        zip((operand.name for operand in spec.operands), positional, strict=False)
    )
    for name, value in named.items():
        spec.operand(name)
        if name in given:
            raise ValueError(f"{mnemonic}: operand '{name}' given twice")
        given[name] = value
    values: list[OperandValue] = []
    for operand in spec.operands:
        chosen = given.get(operand.name, operand.default)
        if chosen is None:
            raise ValueError(f"{mnemonic}: operand '{operand.name}' is missing")
        values.append(chosen)
    built = Instruction(spec, tuple(values))
    check_values(built)
    return built


def check_values(built: Instruction) -> None:
    """Raise `ValueError` when an operand value has the wrong type or does not fit its field."""
    for operand, value in zip(built.spec.operands, built.values, strict=True):
        where = f"{built.mnemonic}: {operand.name}={value!r}"
        if operand.kind is Kind.REGISTER:
            if not isinstance(value, int) or not 0 <= value < 32:
                raise ValueError(f"{where} is not a register r0 to r31")
        elif operand.kind is Kind.CHOICE:
            if value not in operand.choices:
                raise ValueError(f"{where} is not one of {', '.join(operand.choices)}")
        elif operand.kind is Kind.FLOAT:
            if not isinstance(value, int | float):
                raise ValueError(f"{where} is not a number")
            if isfinite(value) and abs(value) >= _BINARY32_OVERFLOW:
                raise ValueError(f"{where} is outside the range of binary32")
        else:
            _check_integer(where, operand.kind, operand.bits, operand.indexed, value)


def _check_integer(where: str, kind: Kind, bits: int, indexed: bool, value: OperandValue) -> None:
    if isinstance(value, Indexed):
        if not indexed:
            raise ValueError(f"{where}: this operand takes no register")
        if not 0 <= value.register < 32:
            raise ValueError(f"{where} is not a register r0 to r31")
        value = value.immediate
    if not isinstance(value, int):
        raise ValueError(f"{where} is not an integer")
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind is Kind.SIGNED else (0, (1 << bits) - 1)
    if not low <= value <= high:
        raise ValueError(f"{where} is outside {low} to {high}")


@dataclass(frozen=True)
class Region:
    """A typed part of a memory space that the program owns.

    Attributes:
        name: Unique name.
        space: `bank` or `sb`.
        address: First linear column (bank) or word (sb).
        size: Columns (bank) or words (sb).
        role: `weights` (read-only), `cache`, `output`, `constants` (read-only), `inputs`, `scratch`.
        element: What a lane of the banks holds: a `number` of the program's numerics, or 16 bits of a `code`, which
            move as words (`form=word`, `kstore`, `kmac`) and are exact in every numerics.
    """

    name: str
    space: str
    address: int
    size: int
    role: str
    element: str = "number"

    @property
    def writable(self) -> bool:
        """Whether instructions may write here."""
        return self.role not in ("weights", "constants")


@dataclass(frozen=True)
class Symbol:
    """A name for an address, for people and for the host.

    Attributes:
        name: Unique name, a letter or underscore followed by letters, digits, `_`, `.`.
        space: `bank`, `sb`, `gb` or `acc`.
        address: First column, word or accumulator.
        size: Extent in the same unit.
        layout: How a tensor lies there, as JSON values; the host packs and unpacks by it.
    """

    name: str
    space: str
    address: int
    size: int
    layout: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class RegisterSymbol:
    """A scalar register that the host sets before an entry runs.

    Attributes:
        name: `kv_length`, `token_count`, ...
        register: Number of the register.
        low: Smallest allowed value.
        high: Largest allowed value; the program verifier bounds addresses with it.
        meaning: One line.
    """

    name: str
    register: int
    low: int
    high: int
    meaning: str = ""


@dataclass(frozen=True)
class RegisterLimit:
    """A bound on a sum of registers that the host sets, such as kv_length + token_count <= max_context.

    Attributes:
        registers: Names of the register symbols.
        high: Largest allowed sum; the host checks it, the program verifier relies on it.
    """

    registers: tuple[str, ...]
    high: int


PORT_KINDS = ("tokens", "token_rows", "keys", "past", "given", "present", "whole", "ignored")
"""How a port is held, as `Port.kind` explains."""


@dataclass(frozen=True)
class Port:
    """An input or output of the model, and where the host finds it.

    Attributes:
        name: ONNX name.
        direction: `input` or `output`.
        dtype: numpy dtype name of the ONNX value (`float32`, `int64`, `bool`).
        shape: Dimensions: integers, or affine expressions in the model's symbols as text.
        kind: `tokens` (one row of words in the shared buffer for each token of the run), `token_rows` (an output whose
            rows lie in the banks: token t in bank t mod banks), `keys` (a whole tensor with 0 for each masked position
            and 1 for others), `past` and `present` (the resident KV cache), `given` (keys or values that a run reads
            and does not append to), `whole` (a whole tensor, element by element at the strides of the layout),
            `ignored` (an input that no result depends on).
        symbol: Name of the `Symbol` that holds it; empty for `ignored`.
        entry: The only entry that the port belongs to, in a program of several models; empty when it belongs to all.
        filled_by: `ENTRY/OUTPUT` that leaves the contents of this input where the input finds them, so that it may be
            left out after a run of that entry; empty when the host gives them.
    """

    name: str
    direction: str
    dtype: str
    shape: tuple[int | str, ...]
    kind: str
    symbol: str
    entry: str = ""
    filled_by: str = ""


@dataclass(frozen=True)
class Entry:
    """A place where the host can start: `decode`, `prefill` or `encode`.

    Attributes:
        name: Name of the entry.
        address: Index of its first instruction.
        registers: Names of the register symbols that the host must set.
    """

    name: str
    address: int
    registers: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Where instructions come from.

    Attributes:
        node: Name of the graph node.
        onnx_nodes: Names of the ONNX nodes that were fused into it.
    """

    node: str
    onnx_nodes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Segment:
    """Initial contents of a region.

    Attributes:
        region: Name of the region.
        data: For `bank`: [channels, banks, columns * lanes], dtype uint16 (bf16 bits, codes) or float32.
            For `sb`: [words], dtype uint32 (raw words).
    """

    region: str
    data: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled program.

    Attributes:
        machine: Name of the machine it was compiled for.
        machine_sha256: Hash of the resolved machine description.
        numerics: `machine` (as the hardware stores and rounds) or `fp32`.
        code: All instructions of all entries.
        entries: By name.
        registers: Registers that the host sets.
        limits: Bounds on sums of these registers.
        regions: Memory that the program owns.
        symbols: Names of addresses.
        ports: The model's signature.
        segments: Initial contents.
        sources: Origins that `debug` refers to.
        debug: For each instruction the index of its source.
        metadata: Further facts as JSON values: `max_context`, `chunk`, `model_sha256`, `versions`, ...; of a program of
            several models `entries`, an object with the facts that differ, by name of the entry.
    """

    machine: str
    machine_sha256: str
    numerics: str
    code: tuple[Instruction, ...]
    entries: Mapping[str, Entry]
    registers: tuple[RegisterSymbol, ...] = ()
    limits: tuple[RegisterLimit, ...] = ()
    regions: tuple[Region, ...] = ()
    symbols: tuple[Symbol, ...] = ()
    ports: tuple[Port, ...] = ()
    segments: tuple[Segment, ...] = ()
    sources: tuple[Source, ...] = ()
    debug: tuple[int, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __repr__(self) -> str:
        """What it is in one line, not what it holds."""
        entries = ", ".join(self.entries) or "none"
        size = sum(segment.data.nbytes for segment in self.segments)
        return (
            f"<Program for {self.machine}, numerics {self.numerics}:"
            f" {len(self.code)} instructions, entries {entries}, {size:,} bytes of data>"
        )

    @property
    def stages(self) -> tuple[str, ...]:
        """Entries with ports of their own, in order; empty for a program of one model, whose entries share all."""
        return tuple(name for name in self.entries if any(port.entry == name for port in self.ports))

    def part(self, entry: str) -> Program:
        """What concerns one entry: its ports, and its facts in the metadata; raises `KeyError` when there is none."""
        facts = self.entry_facts(entry)
        ports = tuple(port for port in self.ports if port.entry in ("", entry))
        return replace(self, entries={entry: self.entries[entry]}, ports=ports, metadata={**self.metadata, **facts})

    def entry_facts(self, entry: str) -> Mapping[str, Any]:
        """The facts among the metadata that hold for one entry alone; empty when there are none."""
        entries = self.metadata.get("entries")
        facts = entries.get(entry) if isinstance(entries, Mapping) else None
        return facts if isinstance(facts, Mapping) else {}

    def symbol(self, name: str) -> Symbol:
        """The symbol called `name`; raises `KeyError` when there is none."""
        for symbol in self.symbols:
            if symbol.name == name:
                return symbol
        raise KeyError(name)

    def region(self, name: str) -> Region:
        """The region called `name`; raises `KeyError` when there is none."""
        for region in self.regions:
            if region.name == name:
                return region
        raise KeyError(name)


def segment_words(values: NDArray[Any]) -> NDArray[np.uint32]:
    """float32 or int32 values as raw shared-buffer words."""
    return np.ascontiguousarray(values).view(np.uint32)
