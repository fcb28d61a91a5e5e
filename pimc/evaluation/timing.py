"""The cost of decode steps at contexts that no window reaches, without data."""

from __future__ import annotations

from isa import Machine, Program
from pimc.evaluation.costs import Cost, cost_of
from pimc.evaluation.window_run import AVERAGED_STEPS, summed
from pimc.simulator import Session


def cost_without_data(program: Program, machine: Machine, context: int) -> Cost:
    """The cost at a context with the densities that the policy declares in place of data.

    Args:
        program: A language model with a KV cache; it needs no weights.
        machine: The machine.
        context: Tokens that the last of the averaged steps attends to.

    Raises:
        ResourceLimitError: the context does not fit the program.
    """
    session = Session(program, machine, timing_only=True)
    steps = min(AVERAGED_STEPS, context)
    session.kv_length = context - steps
    costs: list[Cost] = []
    for _ in range(steps):
        session.step([0])
        costs.append(cost_of(session.statistics))
    return summed(costs)
