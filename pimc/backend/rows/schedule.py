"""Order of the work: phases, which run over all rows of a space or once over whole tensors, and steps inside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from passes import Graph, Node, Value
from pimc.backend.rows.row_axes import RowMap, Space


@dataclass(frozen=True)
class Step:
    """One unit of work for one row, or for whole tensors.

    Attributes:
        node: Graph node.
        part: `whole`, or for attention `append` (write key and value to the cache) and `attend`.
    """

    node: Node
    part: str = "whole"


@dataclass(frozen=True)
class Phase:
    """Steps that run for all rows before the next phase begins.

    Attributes:
        space: Rows to run over; `None` for steps on whole tensors, which run once.
        required: Steps that the caches or later phases depend on.
        optional: Steps that only the outputs of the row depend on.
    """

    space: Space | None
    required: tuple[Step, ...]
    optional: tuple[Step, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in order."""
        return (*self.required, *self.optional)


@dataclass(frozen=True)
class Schedule:
    """All phases in order.

    Attributes:
        phases: The phases.
        is_incremental: Whether the tokens may come in pieces: the rows of the main space take one phase, and nothing
            that runs once depends on them.
    """

    phases: tuple[Phase, ...]
    is_incremental: bool


def make_schedule(graph: Graph, rows: RowMap, masks: Mapping[Value, Value]) -> Schedule:
    """Cut the graph into phases.

    Attention that looks ahead needs all keys before its first query, and whole tensors need all rows.

    Args:
        graph: The fused graph.
        rows: What works row by row.
        masks: Key masks that are not computed, with the inputs that the host gives.
    """
    steps: list[Step] = []
    needed_nodes = _needed_nodes(graph, masks)
    for node in graph.nodes:
        if node not in needed_nodes:
            continue
        if node.op == "cached_attention":
            has_keys = node.optional(1) is not None
            steps += [*([Step(node, "append")] if has_keys else []), Step(node, "attend")]
        else:
            steps.append(Step(node))
    spaces = list(dict.fromkeys(_space(step, rows) for step in steps))
    order = {space: number for number, space in enumerate([None, *(s for s in spaces if s is not None)])}
    level: dict[Step, tuple[int, int]] = {}
    for step in steps:
        level[step] = _level(step, level, order[_space(step, rows)])
    main_levels = {level[step] for step in steps if rows.main is not None and _space(step, rows) == rows.main}
    incremental = len(main_levels) == 1 and _comes_in_pieces(graph, rows, needed_nodes, masks)
    needed = set(steps)
    if incremental:
        needed = _needed_by_caches(steps, graph) | {step for step in steps if level[step] not in main_levels}
    by_level: dict[tuple[int, int], list[Step]] = {}
    for step in steps:
        by_level.setdefault(level[step], []).append(step)
    phases = []
    for key, mine in sorted(by_level.items()):
        required = tuple(step for step in mine if step in needed)
        space = next(s for s, number in order.items() if number == key[1])
        phases.append(Phase(space, required, tuple(step for step in mine if step not in needed)))
    return Schedule(tuple(phases), incremental)


def _needed_nodes(graph: Graph, masks: Collection[Value]) -> set[Node]:
    """Nodes that an output or a cache depends on."""
    caches = [node for node in graph.nodes if node.op == "cached_attention"]
    waiting = [value for value in graph.outputs.values()] + [value for node in caches for value in node.outputs]
    needed: set[Node] = set()
    while waiting:
        node = waiting.pop().producer
        if node is None or node in needed:
            continue
        needed.add(node)
        given = node.optional(3) if node.op == "cached_attention" and node.optional(3) in masks else None
        waiting += [value for value in node.inputs if value is not None and value is not given]
    return needed


def _space(step: Step, rows: RowMap) -> Space | None:
    """Rows that the step runs over: those of the keys for `append`."""
    if step.part != "append":
        return rows.space(step.node)
    key = step.node.operand(1)
    batch = key.shape[0]
    assert isinstance(batch, int)
    return Space(batch, key.shape[1])


def _comes_in_pieces(graph: Graph, rows: RowMap, nodes: set[Node], masks: Mapping[Value, Value]) -> bool:
    """Whether running the tokens piece by piece gives the same as running them at once.

    Whole tensors and other spaces must not depend on rows of the main space. Without past inputs of the caches that
    a run appends to, no length says how many tokens came before, so that nothing may be computed from lengths.
    """
    main = rows.main
    if main is None or any(source in rows.rows for source in masks.values()):
        return False
    appended = [node.attributes["cache"] for node in nodes if node.op == "cached_attention" and node.optional(1)]
    if not any(graph.caches[str(name)].past_key is not None for name in appended):
        return not nodes & rows.dense and all(node.op != "range" for node in nodes)
    if not isinstance(main.tokens, int) and any(
        main.tokens in value.shape for value in graph.inputs if value not in rows.rows
    ):
        return False
    for node in nodes:
        for value in node.inputs:
            own = rows.rows.get(value) if value is not None else None
            if own is not None and own.space == main and rows.space(node) != main:
                return False
    return True


def step_operands(step: Step) -> list[Value]:
    """Values that a step reads."""
    if step.part == "append":
        return [step.node.operand(1), step.node.operand(2)]
    if step.part == "attend":
        extra = [step.node.optional(position) for position in (3, 4)]  # the mask and the bias
        waiting = [step.node.optional(2)] if step.node.attributes["causal"] else []
        return [step.node.operand(0), *(value for value in (*waiting, *extra) if value is not None)]
    return [value for value in step.node.inputs if value is not None]


def producers(step: Step) -> list[Step]:
    """Steps that compute what a step reads; an `attend` also depends on its `append`."""
    has_append = step.part == "attend" and step.node.optional(1) is not None
    found: list[Step] = [Step(step.node, "append")] if has_append else []
    for value in step_operands(step):
        node = value.producer
        if node is not None:
            found.append(Step(node, "attend") if node.op == "cached_attention" else Step(node))
    return found


def _level(step: Step, level: dict[Step, tuple[int, int]], kind: int) -> tuple[int, int]:
    """(number, kind) of the phase; phases run in this order."""
    lowest = 0
    for earlier in producers(step):
        if earlier not in level:
            continue
        number, other = level[earlier]
        looks_ahead = step.part == "attend" and earlier == Step(step.node, "append") and _looks_ahead(step)
        lowest = max(lowest, number + (1 if other > kind or (looks_ahead and other == kind) else 0))
    return lowest, kind


def _changes_cache(step: Step, graph: Graph) -> bool:
    return step.part == "attend" and graph.caches[str(step.node.attributes["cache"])].is_compressed


def _looks_ahead(step: Step) -> bool:
    return not step.node.attributes["causal"]


def _needed_by_caches(steps: list[Step], graph: Graph) -> set[Step]:
    """Steps that change a cache, and what they depend on; a compressed cache looks at what its queries attend to."""
    needed: set[Step] = set()
    waiting = [step for step in steps if step.part == "append" or _changes_cache(step, graph)]
    while waiting:
        step = waiting.pop()
        if step not in needed:
            needed.add(step)
            waiting += producers(step)
    return needed
