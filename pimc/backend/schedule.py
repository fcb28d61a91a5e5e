"""Order of the work: phases that each run over all tokens, steps inside a phase."""

from __future__ import annotations

from dataclasses import dataclass

from passes import Graph, Node, Value

ALIASES = frozenset({"reshape", "split", "identity"})
"""Operations that only rename words; the backend emits nothing for them."""


@dataclass(frozen=True)
class Step:
    """One unit of work for one token.

    Attributes:
        node: Graph node.
        part: `whole`, or for attention `append` (write key and value to the cache) and `attend`.
    """

    node: Node
    part: str = "whole"


@dataclass(frozen=True)
class Phase:
    """Steps that run for all tokens before the next phase begins.

    Attributes:
        required: Steps that the caches or later phases depend on.
        optional: Steps that only the outputs of the token depend on.
    """

    required: tuple[Step, ...]
    optional: tuple[Step, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in order."""
        return (*self.required, *self.optional)


def make_schedule(graph: Graph, is_global: frozenset[Value]) -> tuple[Phase, ...]:
    """Cut the graph into phases: attention that looks ahead needs all keys before its first query.

    Args:
        graph: The fused graph.
        is_global: Values that do not belong to a token (key masks); their producers are left out.
    """
    steps: list[Step] = []
    for node in graph.nodes:
        if node.op == "cached_attention":
            steps += [Step(node, "append"), Step(node, "attend")]
        elif node.op not in ALIASES and node.output not in is_global:
            steps.append(Step(node))
    level: dict[Step, int] = {}
    for step in steps:
        level[step] = _level(step, level)
    needed = _needed_by_caches(steps) if all(number == 0 for number in level.values()) else set(steps)
    phases = []
    for number in range(max(level.values(), default=0) + 1):
        mine = [step for step in steps if level[step] == number]
        phases.append(
            Phase(tuple(s for s in mine if s in needed), tuple(s for s in mine if s not in needed))
        )
    return tuple(phases)


def step_operands(step: Step) -> list[Value]:
    """Values that a step reads."""
    if step.part == "append":
        return [step.node.operand(1), step.node.operand(2)]
    if step.part == "attend":
        return [step.node.operand(0), *([step.node.operand(2)] if step.node.attributes["causal"] else [])]
    return [value for value in step.node.inputs if value is not None]


def producers(step: Step) -> list[Step]:
    """Steps that compute what a step reads, looking through aliases; an `attend` also depends on its `append`."""
    found: list[Step] = [Step(step.node, "append")] if step.part == "attend" else []
    waiting = step_operands(step)
    while waiting:
        node = waiting.pop().producer
        if node is None:
            continue
        if node.op in ALIASES:
            waiting += [value for value in node.inputs if value is not None]
        else:
            found.append(Step(node, "attend") if node.op == "cached_attention" else Step(node))
    return found


def _level(step: Step, level: dict[Step, int]) -> int:
    levels = [level[earlier] for earlier in producers(step) if earlier in level]
    if step.part == "attend" and not step.node.attributes["causal"]:
        levels.append(level[Step(step.node, "append")] + 1)
    return max(levels, default=0)


def _needed_by_caches(steps: list[Step]) -> set[Step]:
    needed: set[Step] = set()
    waiting = [step for step in steps if step.part == "append"]
    while waiting:
        step = waiting.pop()
        if step not in needed:
            needed.add(step)
            waiting += producers(step)
    return needed
