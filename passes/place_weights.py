"""Pass: give every weight matrix a place in the banks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from isa import Machine, ResourceLimitError
from passes.ir import Graph, Node, Value
from passes.matrix_layout import MatrixLayout, best_layout
from passes.units.array_tiles import ArrayTile, array_tiles
from passes.units.unit_choice import UnitChoice

BUFFER_TABLE_WORDS = 4096
"""Lookup tables of at most this many elements stay in the shared buffer."""


@dataclass(frozen=True, eq=False)
class PlacedMatrix:
    """A matrix in the banks.

    Attributes:
        name: Name of its symbol.
        weights: Constants [inputs, outputs_i], side by side along the outputs; a lookup table [outputs, inputs] alone.
        is_table: Whether the only weight is stored the other way round, as a lookup table.
        layout: How it is spread.
        column: First linear column of every bank.
        experts: Number of matrices of this layout one behind the other, of which one is chosen at run time.
        tiles: Its parts in groups of crossbars, which are written from the banks; none where the banks multiply.
    """

    name: str
    weights: tuple[Value, ...]
    is_table: bool
    layout: MatrixLayout
    column: int
    experts: int = 1
    tiles: tuple[ArrayTile, ...] = ()

    @property
    def columns(self) -> int:
        """Linear columns of every bank that all matrices take."""
        return self.experts * self.layout.columns


@dataclass(frozen=True)
class Placement:
    """Where all matrices are.

    Attributes:
        matrices: In order of columns.
        by_use: For (node name, role) the index into `matrices`; roles are `linear`, `experts`, `table`, `in`, `down`.
        columns: Linear columns of every bank that the matrices take.
        groups: Groups of crossbars that they take.
        in_arrays: Names of the nodes whose products run in crossbars.
    """

    matrices: tuple[PlacedMatrix, ...]
    by_use: Mapping[tuple[str, str], int]
    columns: int
    groups: int = 0
    in_arrays: frozenset[str] = frozenset()

    def matrix(self, node: Node, role: str) -> PlacedMatrix:
        """The matrix that `node` uses in `role`; without its parts in crossbars where the banks multiply."""
        matrix = self.matrices[self.by_use[node.name, role]]
        return matrix if node.name in self.in_arrays else replace(matrix, tiles=())


@dataclass(frozen=True)
class _Use:
    node: Node
    role: str
    weights: tuple[Value, ...]


@dataclass(frozen=True)
class PlaceWeights:
    """Give every weight matrix a place in the banks.

    Precondition: products with constants are `linear` or `feed_forward`, lookups are `gather` on axis 0.
    Effect: writes a `Placement` to `graph.facts["place_weights"]`. A lookup table that is also the (transposed) matrix
    of a product is stored once. Every matrix begins at a row.
    Postcondition: no two matrices overlap; the graph itself is unchanged.

    Attributes:
        machine: The machine, which must have near-bank units.
    """

    machine: Machine
    name: ClassVar[str] = "place_weights"
    optional: ClassVar[bool] = False
    reassociates: ClassVar[bool] = False

    def run(self, graph: Graph) -> bool:
        """Place all matrices; returns False because no node changes."""
        place_together(self.machine, (graph,))
        return False


def place_together(machine: Machine, graphs: Sequence[Graph]) -> None:
    """Place the matrices of graphs that become one program; what several of them hold is stored once.

    Effect: writes to every graph's facts the matrices of all graphs, with the graph's own uses.

    Raises:
        ResourceLimitError: the machine has no banks.
    """
    near_bank = machine.near_bank
    if near_bank is None:
        raise ResourceLimitError(f"the machine '{machine.name}' has no banks to place weights in")
    tables = [node.operand(0) for graph in graphs for node in graph.nodes if is_bank_table(node)]
    matrices: list[PlacedMatrix] = []
    uses: list[dict[tuple[str, str], int]] = []
    in_arrays: list[frozenset[str]] = []
    column = group = 0
    wanted = [use for graph in graphs for use in _in_arrays(graph)]
    for graph in graphs:
        uses.append({})
        in_arrays.append(frozenset(use.node.name for use in _in_arrays(graph)))
        for use in (use for node in graph.nodes for use in _uses(node)):
            twin = _find_twin(matrices, use)
            if twin is None:
                loaded = any(_same_matrix(each.weights, False, use.weights, use.role == "table") for each in wanted)
                placed = _place(machine, use, column, loaded or _is_looked_up(tables, use))
                placed = replace(placed, tiles=_tiles(machine, placed, group) if loaded else ())
                column += -(-placed.columns // near_bank.columns_per_row) * near_bank.columns_per_row
                group += len(placed.tiles)
                twin = len(matrices)
                matrices.append(placed)
            uses[-1][use.node.name, use.role] = twin
    _check_groups(machine, group)
    for graph, by_use, names in zip(graphs, uses, in_arrays, strict=True):
        graph.facts["place_weights"] = Placement(tuple(matrices), by_use, column, group, names)


def _in_arrays(graph: Graph) -> list[_Use]:
    """Uses of matrices by products that run in crossbars."""
    choice: UnitChoice = graph.facts.get("choose_units", UnitChoice())
    return [use for node in graph.nodes if choice.of(node) == "crossbar" for use in _uses(node)]


def _tiles(machine: Machine, placed: PlacedMatrix, first_group: int) -> tuple[ArrayTile, ...]:
    assert machine.crossbar is not None
    return array_tiles(machine.crossbar, placed.layout.inputs, placed.layout.outputs, first_group)


def _check_groups(machine: Machine, groups: int) -> None:
    bound = 0 if machine.crossbar is None else machine.crossbar.groups
    if groups > bound:
        computes = machine.near_bank is not None and machine.near_bank.computes
        raise ResourceLimitError(
            "the matrices do not fit the crossbars",
            notes=[f"demand: {groups:,} groups of arrays", f"bound: {bound:,} groups"],
            help=f"{'leave blocks in the banks with --units, or ' if computes else ''}take a machine with more groups",
        )


def _place(machine: Machine, use: _Use, column: int, looked_up: bool) -> PlacedMatrix:
    is_table = use.role == "table"
    shapes = [tuple(int(str(dim)) for dim in weight.shape[-2:]) for weight in use.weights]
    experts = int(str(use.weights[0].shape[0])) if use.role == "experts" else 1
    inputs = shapes[0][1] if is_table else shapes[0][0]
    outputs = shapes[0][0] if is_table else sum(shape[1] for shape in shapes)
    layout = best_layout(machine, inputs, outputs, (1,) if looked_up else None)
    name = use.weights[0].name if len(use.weights) == 1 else f"{use.node.name}.{use.role}"
    return PlacedMatrix(name, use.weights, is_table, layout, column, experts)


def is_bank_table(node: Node) -> bool:
    """Whether `node` looks rows up in a constant table that is too large for the shared buffer."""
    table = node.inputs[0] if node.op == "gather" else None
    if table is None or table.constant is None or node.attributes["axis"] != 0 or table.type.rank != 2:
        return False
    return table.constant.size > BUFFER_TABLE_WORDS and table.constant.dtype.kind not in "iub"


def _uses(node: Node) -> Iterator[_Use]:
    if node.op == "linear":
        yield _Use(node, "linear", (node.operand(1),))
    elif node.op == "expert_linear":
        yield _Use(node, "experts", (node.operand(2),))
    elif node.op == "feed_forward":
        up, gate = node.operand(1), node.optional(3)
        yield _Use(node, "in", (up,) if gate is None else (gate, up))
        yield _Use(node, "down", (node.operand(5),))
    elif is_bank_table(node):
        yield _Use(node, "table", (node.operand(0),))


def _is_looked_up(tables: Iterable[Value], use: _Use) -> bool:
    if use.role == "table":
        return True
    return any(_same_matrix(use.weights, False, (table,), True) for table in tables)


def _find_twin(matrices: list[PlacedMatrix], use: _Use) -> int | None:
    for number, placed in enumerate(matrices):
        if _same_matrix(placed.weights, placed.is_table, use.weights, use.role == "table"):
            return number
    return None


def _same_matrix(first: tuple[Value, ...], first_table: bool, second: tuple[Value, ...], second_table: bool) -> bool:
    if len(first) != len(second):
        return False
    return all(_same_weight(a, first_table != second_table, b) for a, b in zip(first, second, strict=True))


def _same_weight(first: Value, crossed: bool, second: Value) -> bool:
    if first is second:
        return not crossed
    if first.constant is None or second.constant is None:
        return False
    other = second.constant.T if crossed else second.constant
    if first.constant.shape != other.shape:
        return False
    if not np.array_equal(first.constant[:1], other[:1]):
        return False
    return bool(np.array_equal(first.constant, other))
