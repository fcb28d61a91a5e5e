"""Collects instructions with their origins, and hands out scalar registers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from isa import (
    REGISTER_COUNT,
    Indexed,
    Instruction,
    OperandValue,
    Place,
    ResourceLimitError,
    Source,
    instruction,
)


@dataclass(frozen=True)
class Words:
    """An address in the shared buffer: a fixed word, or a fixed word plus a register.

    Attributes:
        word: Fixed part.
        register: Register to add, or `None`.
    """

    word: int
    register: int | None = None

    def __add__(self, words: int) -> Words:
        return Words(self.word + words, self.register)

    @property
    def operand(self) -> int | Indexed:
        """The address as an operand value."""
        return self.word if self.register is None else Indexed(self.word, self.register)


def indexed(immediate: int, register: int | None) -> int | Indexed:
    """immediate + register as an operand value."""
    return immediate if register is None else Indexed(immediate, register)


@dataclass
class Emitter:
    """The code under construction.

    Attributes:
        code: Instructions so far.
        sources: Origins so far.
        debug: For each instruction the index of its origin.
    """

    code: list[Instruction] = field(default_factory=list[Instruction])
    sources: list[Source] = field(default_factory=lambda: [Source("program")])
    debug: list[int] = field(default_factory=list[int])
    _source: int = 0
    _free: list[int] = field(default_factory=lambda: list(range(REGISTER_COUNT - 1, -1, -1)))

    def emit(self, mnemonic: str, *positional: OperandValue, **named: OperandValue) -> None:
        """Append an instruction; operands as for `isa.instruction`."""
        self.code.append(instruction(mnemonic, *positional, **named))
        self.debug.append(self._source)

    @contextmanager
    def origin(self, source: Source) -> Iterator[None]:
        """Instructions emitted inside come from `source`."""
        before = self._source
        self.sources.append(source)
        self._source = len(self.sources) - 1
        yield
        self._source = before

    @contextmanager
    def loop(self, count: int | Indexed) -> Iterator[int]:
        """A hardware loop around the instructions emitted inside; gives the register of the iteration number."""
        register = self.register()
        self.emit("loop", register, count)
        yield register
        self.emit("end")
        self.release(register)

    @contextmanager
    def unless_zero(self, register: int) -> Iterator[None]:
        """Skip the instructions emitted inside when `register` is zero."""
        place = len(self.code)
        self.emit("skipz", register, 0)
        yield
        self.code[place] = self.code[place].with_value("target", len(self.code))

    @property
    def free_registers(self) -> int:
        """Scalar registers that nothing uses."""
        return len(self._free)

    def register(self) -> int:
        """A free scalar register.

        Raises:
            ResourceLimitError: all of them are in use; the place is the node for which code is emitted.
        """
        if not self._free:
            source = self.sources[self._source]
            raise ResourceLimitError(
                f"the program needs more than {REGISTER_COUNT} scalar registers at once",
                Place(node=source.node),
                notes=[f"from the ONNX node '{name}'" for name in source.onnx_nodes[:1]],
                help="a node that combines less needs fewer: fewer policies of the KV cache for one layer, codes of as"
                " many bits for keys and values, or fewer symbolic dimensions (--dim NAME=N)",
            )
        return self._free.pop()

    def reserve(self, registers: Iterable[int]) -> None:
        """Never hand these registers out."""
        kept = set(registers)
        self._free = [register for register in self._free if register not in kept]

    def release(self, *registers: int) -> None:
        """Give registers back."""
        self._free.extend(registers)
        self._free.sort(reverse=True)

    def scalar(self, mnemonic: str, operand: int, value: int | Indexed) -> int:
        """A new register that holds `operand` combined with `value` by a scalar instruction."""
        result = self.register()
        self.emit(mnemonic, result, operand, value)
        return result
