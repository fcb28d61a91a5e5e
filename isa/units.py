"""Units that execute instructions, as one table: names, components that describe them, titles for people.

A unit other than the sequencer and the channels works on ranges of the shared buffer or on memories of its own, one
instruction after another. Its component is a `UnitComponent`: the only place that says how long an instruction takes
and what its elements cost; statistics, recordings and cost models ask it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast, runtime_checkable

if TYPE_CHECKING:
    from isa.machine import Machine


class Duration(NamedTuple):
    """Time of an instruction on a unit.

    Attributes:
        occupied: Cycles until the unit can begin its next instruction.
        latency: Cycles until the result is there; more than `occupied` on a pipelined unit.
    """

    occupied: int
    latency: int


class UnitComponent(Protocol):
    """A component of a machine that executes the instructions of one or several units."""

    def duration(self, mnemonic: str, function: str, rows: int, length: int) -> Duration:
        """Time of an instruction on `rows` x `length` elements; `function` is what its operand `fn` names."""
        ...

    def energies_pj(self, mnemonic: str, function: str) -> Mapping[str, float]:
        """Energy of one element of an instruction, without the shared buffer, by part of the component."""
        ...

    def leakages_mw(self) -> Mapping[str, float]:
        """Static power by part, while a program that uses the component's extension is loaded."""
        ...


@runtime_checkable
class PublishedComponent(Protocol):
    """A component whose authors account for it in a way of their own."""

    def published(self) -> UnitComponent:
        """The component in the accounting `paper`."""
        ...


@dataclass(frozen=True)
class Unit:
    """A row of the table.

    Attributes:
        name: As the instruction table spells it.
        title: For people: tracks of a timeline, curves of occupancy.
        extension: Letter of the extension whose use switches the unit on; I is always on.
        component: Field of `Machine` that describes it; empty for the sequencer and the channels.
        is_serial: Whether it never begins an instruction before the end of its previous one: hazards between two of
            its instructions need no check.
    """

    name: str
    title: str
    extension: str
    component: str = ""
    is_serial: bool = False

    def component_of(self, machine: Machine, accounting: str = "faithful") -> UnitComponent | None:
        """Its description; `None` when the machine lacks the unit, and for the sequencer and the channels.

        Args:
            machine: The machine.
            accounting: With `paper` the component as its authors account for it, where that differs.
        """
        if not self.component:
            return None
        component = cast("UnitComponent | None", getattr(machine, self.component))
        if accounting == "paper" and isinstance(component, PublishedComponent):
            return component.published()
        return component


UNITS = (
    Unit("sequencer", "sequencer", "I"),
    Unit("vector", "vector unit", "I", "vector_unit", is_serial=True),
    Unit("channel", "channel instructions", "B"),
    Unit("codec", "kv codec", "K", "kv_codec", is_serial=True),
    Unit("association", "cam association", "C", "cam"),
    Unit("normalisation", "cam normalisation", "C", "cam"),
    Unit("contextualisation", "cam contextualisation", "C", "cam"),
    Unit("cam_memory", "cam keys and values", "C", "cam"),
    Unit("crossbar", "crossbar arrays", "X", "crossbar"),
    Unit("hybrid_softmax", "hybrid softmax", "X", "hybrid_softmax", is_serial=True),
    Unit("arrays", "digital CIM arrays", "X", "digital_cim"),
    Unit("engines", "dot product engines", "X", "digital_cim"),
    Unit("softmax", "softmax units", "X", "digital_cim", is_serial=True),
    Unit("norm", "layer normalisation lanes", "X", "digital_cim"),
    Unit("relu", "ReLU unit", "X", "digital_cim", is_serial=True),
    Unit("prune", "pruning units", "X", "digital_cim", is_serial=True),
    Unit("quantise", "quantisation units", "X", "digital_cim", is_serial=True),
    Unit("dequantise", "dequantisation units", "X", "digital_cim", is_serial=True),
    Unit("memory", "off-chip memory", "L", "off_chip"),
)
"""All units; programs that run know them by their place."""
