"""Pass: choose the unit that each block runs on, where the machine has several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

from isa import InputError, Machine, ResourceLimitError, UnsupportedError
from passes.ir import Cache, Graph, Node
from passes.units.cheapest_units import cheapest_units
from passes.units.legal_units import unit_problem
from passes.units.search_costs import search_in_banks, search_in_memory
from passes.units.search_limits import search_demands, searching
from passes.units.taken_room import TakenRoom
from passes.units.unit_choice import BY_COST, KINDS, UNITS_OF_BLOCKS, UnitChoice, UnitSpecification
from passes.units.unit_costs import (
    BlockCost,
    attention_in_arrays,
    attention_in_banks,
    matrices_of,
    products_in_arrays,
    products_in_banks,
    static_mw,
)

_USUAL_TOKENS = 512
_SHOWN = 6
"""Names that a refusal shows."""


@dataclass(frozen=True)
class _Block:
    """A node with its cache, the units that it may run on, and those that it may not, with reasons."""

    node: Node
    cache: Cache | None
    costs: Mapping[str, BlockCost]
    problems: Mapping[str, str]


@dataclass(frozen=True)
class ChooseUnits:
    """Choose near-bank units, crossbars or the associative memory for products with constants and for attention.

    Precondition: products are `linear` or `feed_forward`, attention is `cached_attention`.
    Effect: writes a `UnitChoice` to `graph.facts["choose_units"]`; the graph itself stays as it is. Blocks for which
    `wanted` says `cost` get the unit that makes the product of time and energy of a token smallest, over the whole
    graph, as `unit_costs` estimates them; groups of arrays go to the blocks that gain most by them.
    Postcondition: chosen units can run their blocks; the groups of arrays of all blocks are there.

    Attributes:
        machine: The machine.
        wanted: What the user wants.
        tokens: Tokens of the cache for which attention is estimated, and of the context for which arrays are reserved.
        beside: The other graphs of the program. Room that those hold that have their units is taken, but for what is
            shared with them; a shared cache has one unit, which all of them can use.
    """

    machine: Machine
    wanted: UnitSpecification = field(default_factory=UnitSpecification)
    tokens: int = _USUAL_TOKENS
    beside: Sequence[Graph] = ()
    name: ClassVar[str] = "choose_units"
    optional: ClassVar[bool] = False
    reassociates: ClassVar[bool] = True

    def run(self, graph: Graph) -> bool:
        """Choose for every block; returns False because no node changes.

        Raises:
            InputError: a wish names no block, or a unit that the machine lacks.
            UnsupportedError: a block cannot run on any unit, or, if it is named, on the one that is wanted for it.
            ResourceLimitError: it finds no groups of arrays.
        """
        self._check(graph)
        self._check_experts(graph)
        blocks = [self._block(node, _cache_of(graph, node)) for node in graph.nodes if _has_choice(node)]
        units = {block.node.name: self._wished(block) for block in blocks}
        free = [block for block in blocks if self.wanted.wish(block.node) == BY_COST and len(block.costs) > 1]
        units |= self._cheapest(graph, blocks, units, free)
        room = self._taken()
        dropped = {**self._fit(blocks, units, room), **self._fit_keys(blocks, units, room)}
        reasons = {block.node.name: self._reason(block, units, dropped) for block in blocks}
        graph.facts[self.name] = UnitChoice(units, reasons, dict(self._unmet(blocks, units, dropped)))
        return False

    def _cheapest(
        self, graph: Graph, blocks: Sequence[_Block], units: Mapping[str, str], free: Sequence[_Block]
    ) -> dict[str, str]:
        """Units of the blocks that have a choice, when the others have theirs."""
        held = [block.costs[units[block.node.name]] for block in blocks if block not in free]
        time_ns = _rest_ns(self.machine, graph) + sum(cost.time_ns for cost in held)
        rest = BlockCost(time_ns, sum(cost.energy_pj for cost in held))
        return cheapest_units({block.node.name: block.costs for block in free}, rest, static_mw(self.machine))

    def _check(self, graph: Graph) -> None:
        blocks = [node for node in graph.nodes if _has_choice(node)]
        there = {"banks": self.machine.near_bank, "crossbar": self.machine.crossbar, "cam": self.machine.cam}
        for who, unit in self.wanted.wishes:
            if unit != BY_COST and there[unit] is None:
                own = ", ".join(name for name, described in there.items() if described is not None)
                problem = f"--units: the machine '{self.machine.name}' has no unit '{unit}'"
                raise InputError(problem, notes=[f"it has: {own}"])
            wish = UnitSpecification("", ((who, unit),))
            if who not in KINDS and not any(wish.wish(node) == unit for node in blocks):
                names = sorted(node.name for node in blocks)
                shown = [f"blocks: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"]
                raise InputError(f"--units: no block with a choice is called '{who}'", notes=shown)

    def _check_experts(self, graph: Graph) -> None:
        """Matrices that are chosen at run time are multiplied in the banks and nowhere else."""
        experts = [node.name for node in graph.nodes if node.op == "expert_linear"]
        if experts and not self.machine.computes_in_banks:
            raise UnsupportedError(
                f"the machine '{self.machine.name}' has no units at its banks, which products with chosen experts need",
                notes=[f"'{name}'" for name in experts[:4]],
            )

    def _block(self, node: Node, cache: Cache | None) -> _Block:
        costs: dict[str, BlockCost] = {}
        problems: dict[str, str] = {}
        for unit in UNITS_OF_BLOCKS if cache is not None else ("banks", "crossbar"):
            problem = self._problem(node, cache, unit)
            if problem is None:
                costs[unit] = self._cost(node, cache, unit)
            else:
                problems[unit] = problem
        return _Block(node, cache, costs, problems)

    def _problem(self, node: Node, cache: Cache | None, unit: str) -> str | None:
        """Why a block cannot run on a unit; neither can one whose cache another graph has elsewhere."""
        sharing = list(self._sharing(cache))
        is_filled = any(other.optional(1) is not None for _, other, _ in sharing)
        problem = unit_problem(self.machine, node, cache, unit, is_filled)
        for graph, other, its_cache in () if problem is not None else sharing:
            choice: UnitChoice | None = graph.facts.get(self.name)
            if choice is not None and choice.of(other) != unit:
                return f"another entry has its keys and values in the {choice.of(other)}"
            problem = problem or unit_problem(self.machine, other, its_cache, unit, node.optional(1) is not None)
        return problem

    def _sharing(self, cache: Cache | None) -> Iterator[tuple[Graph, Node, Cache]]:
        """Attention of the other graphs over the same cache."""
        for graph in self.beside if cache is not None and cache.shared_name else ():
            for node in graph.nodes:
                other = _cache_of(graph, node)
                if other is not None and cache is not None and other.shared_name == cache.shared_name:
                    yield graph, node, other

    def _taken(self) -> TakenRoom:
        """Room that the other graphs hold that have their units."""
        room = TakenRoom(self.machine.crossbar)
        for graph in self.beside:
            choice: UnitChoice = graph.facts.get(self.name, UnitChoice())
            for node in (node for node in graph.nodes if choice.of(node) != "banks"):
                cache = _cache_of(graph, node)
                room.take(node, cache, self._cost(node, cache, choice.of(node)))
        return room

    def _cost(self, node: Node, cache: Cache | None, unit: str) -> BlockCost:
        if cache is None:
            products = products_in_banks if unit == "banks" else products_in_arrays
            return products(self.machine, matrices_of(node))
        if unit == "crossbar":
            return attention_in_arrays(self.machine, node, cache, self.tokens)
        in_banks = search_in_banks if searching(cache) else attention_in_banks
        return (search_in_memory if unit == "cam" else in_banks)(self.machine, node, cache, self.tokens)

    def _wished(self, block: _Block) -> str:
        """The unit that is wanted, or the first that can run the block where that one cannot, or where cost decides."""
        wish = self.wanted.wish(block.node)
        if not block.costs:
            raise UnsupportedError(
                f"'{block.node.name}' can run on no unit of the machine '{self.machine.name}'",
                notes=[f"not {unit}: {problem}" for unit, problem in block.problems.items()],
                help="change what the notes name, or take a machine whose banks compute, as e2e-pim or gddr6-aim",
            )
        if wish in block.problems and self.wanted.names(block.node):
            raise UnsupportedError(f"'{block.node.name}' cannot run on '{wish}': {block.problems[wish]}")
        return wish if wish in block.costs else next(iter(block.costs))

    def _fit(self, blocks: Sequence[_Block], units: dict[str, str], room: TakenRoom) -> dict[str, str]:
        """Give blocks back to the banks until the groups of arrays suffice: those that gain least by a group first."""
        crossbar = self.machine.crossbar
        if crossbar is None:
            return {}
        inside = [block for block in blocks if units[block.node.name] == "crossbar"]
        dropped: dict[str, str] = {}
        for block in sorted(inside, key=_gain_of_a_group, reverse=True):
            cost = block.costs["crossbar"]
            groups, left = room.demand(block.node, block.cache, cost)[0], crossbar.groups - room.groups
            if groups <= left or "banks" not in block.costs:
                room.take(block.node, block.cache, cost)
            elif self.wanted.names(block.node):
                raise ResourceLimitError(
                    f"'{block.node.name}' finds no groups of arrays left",
                    notes=[f"demand: {groups:,} groups, {left:,} are left", f"bound: {crossbar.groups:,} groups"],
                    help="leave other blocks in the banks, or take a machine with more groups",
                )
            else:
                dropped[block.node.name] = f"no room among {crossbar.groups:,} groups of arrays"
                units[block.node.name] = "banks"
        return dropped

    def _fit_keys(self, blocks: Sequence[_Block], units: dict[str, str], room: TakenRoom) -> dict[str, str]:
        """Give attention back to the banks for which keys, values or candidates find no room, unless it is wanted so.

        What is wanted stays, and is refused with demand and bound when rooms are given out.
        """
        cam = self.machine.cam
        dropped: dict[str, str] = {}
        for block in blocks:
            if cam is None or units[block.node.name] != "cam":
                continue
            cost = block.costs["cam"]
            keys = room.keys + room.demand(block.node, block.cache, cost)[1]
            is_free = self.wanted.wish(block.node) == BY_COST and "banks" in block.costs
            missing = search_demands(cam, block.cache, keys, self.tokens) if is_free else []
            if missing:
                dropped[block.node.name] = f"no room in the associative memory ({', '.join(missing)})"
                units[block.node.name] = "banks"
            else:
                room.take(block.node, block.cache, cost)
        return dropped

    def _unmet(
        self, blocks: Sequence[_Block], units: Mapping[str, str], dropped: Mapping[str, str]
    ) -> Iterator[tuple[str, str]]:
        """Blocks on other units than the wanted ones, and why."""
        for block in blocks:
            name, wish = block.node.name, self.wanted.wish(block.node)
            if wish not in (BY_COST, units[name]):
                yield name, f"not on {wish}: {dropped.get(name) or block.problems[wish]}"

    def _reason(self, block: _Block, units: Mapping[str, str], dropped: Mapping[str, str]) -> str:
        name, wish = block.node.name, self.wanted.wish(block.node)
        costs = "; ".join(f"{unit}: {cost}" for unit, cost in block.costs.items())
        problems = "; ".join(f"not {unit}: {problem}" for unit, problem in block.problems.items())
        chosen = "as wanted" if wish == units[name] else _by_cost(block) if wish == BY_COST else f"not on {wish}"
        return "; ".join(filter(None, (dropped.get(name, chosen), costs, problems)))


def _by_cost(block: _Block) -> str:
    return "by cost" if len(block.costs) > 1 else "no other unit can"


def _has_choice(node: Node) -> bool:
    return any(node.op in operations for operations in KINDS.values())


def _cache_of(graph: Graph, node: Node) -> Cache | None:
    return graph.caches.get(str(node.attributes.get("cache")))


def _rest_ns(machine: Machine, graph: Graph) -> float:
    """Time of everything else for a token: each operation once through the vector unit."""
    cycles = 0
    for node in graph.nodes:
        if not _has_choice(node) and not node.output.is_constant:
            width = prod(dim for dim in node.output.shape[2:] if isinstance(dim, int))
            cycles += machine.vector_unit.duration("vadd", "copy", 1, width).latency
    return cycles * machine.clock_ns


def _gain_of_a_group(block: _Block) -> float:
    """Energy that a group of arrays saves; blocks that can run nowhere else come first."""
    banks, arrays = block.costs.get("banks"), block.costs["crossbar"]
    if banks is None:
        return float("inf")
    return (banks.energy_pj - arrays.energy_pj) / max(arrays.groups, 1)
