"""Pass: give every weight matrix a place in the banks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from isa import Machine, ResourceLimitError
from passes.ir import Graph, Node, Value
from passes.matrix_layout import MatrixLayout, best_layout
from passes.units.array_tiles import ArrayTile, array_tiles
from passes.units.unit_choice import UnitChoice
from passes.weight_uses import WeightUse, weight_uses


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
    tables = [use for graph in graphs for node in graph.nodes for use in weight_uses(node) if use.is_table]
    matrices: list[PlacedMatrix] = []
    first_uses: list[WeightUse] = []
    by_use: list[dict[tuple[str, str], int]] = []
    in_arrays = [uses_in_arrays(graph) for graph in graphs]
    wanted = [use for uses in in_arrays for use in uses]
    column = group = 0
    for graph in graphs:
        by_use.append({})
        for use in (use for node in graph.nodes for use in weight_uses(node)):
            twin = next((number for number, first in enumerate(first_uses) if first.same_matrix(use)), len(matrices))
            if twin == len(matrices):
                loaded = use.is_among(wanted)
                placed = _place(machine, use, column, loaded or use.is_among(tables))
                placed = replace(placed, tiles=_tiles(machine, placed, group) if loaded else ())
                column += -(-placed.columns // near_bank.columns_per_row) * near_bank.columns_per_row
                group += len(placed.tiles)
                matrices.append(placed)
                first_uses.append(use)
            by_use[-1][use.node.name, use.role] = twin
    _check_groups(machine, group)
    for graph, own, uses in zip(graphs, by_use, in_arrays, strict=True):
        names = frozenset(use.node.name for use in uses)
        graph.facts["place_weights"] = Placement(tuple(matrices), own, column, group, names)


def uses_in_arrays(graph: Graph) -> list[WeightUse]:
    """Uses of matrices by products that run in crossbars."""
    choice: UnitChoice = graph.facts.get("choose_units", UnitChoice())
    return [use for node in graph.nodes if choice.of(node) == "crossbar" for use in weight_uses(node)]


def _tiles(machine: Machine, placed: PlacedMatrix, first_group: int) -> tuple[ArrayTile, ...]:
    assert machine.crossbar is not None
    return array_tiles(machine.crossbar, placed.layout.inputs, placed.layout.outputs, first_group)


def _check_groups(machine: Machine, groups: int) -> None:
    bound = 0 if machine.crossbar is None else machine.crossbar.groups
    if groups > bound:
        levers = "leave blocks in the banks with --units, or " if machine.computes_in_banks else ""
        raise ResourceLimitError(
            "the matrices do not fit the crossbars",
            notes=[f"demand: {groups:,} groups of arrays", f"bound: {bound:,} groups"],
            help=f"{levers}take a machine with more groups",
        )


def _place(machine: Machine, use: WeightUse, column: int, looked_up: bool) -> PlacedMatrix:
    experts = int(str(use.weights[0].shape[0])) if use.role == "experts" else 1
    layout = best_layout(machine, *use.shape, (1,) if looked_up else None)
    name = use.weights[0].name if len(use.weights) == 1 else f"{use.node.name}.{use.role}"
    return PlacedMatrix(name, use.weights, use.is_table, layout, column, experts)
