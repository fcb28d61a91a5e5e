"""Specifications with thresholds that were found for each layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from passes.kv_policies.cpq import CascadePruneQuantize
from passes.kv_policies.policy import Policy, parameters
from passes.kv_policies.resolution import clause_of
from passes.kv_policies.specification import KvSpecification


def policy_text(policy: Policy) -> str:
    """The policy as specifications spell it, without parameters that have their defaults; floats in six digits."""
    values = [(each, getattr(policy, each.name)) for each in parameters(type(policy))]
    given = [f"{each.name}={_number(value)}" for each, value in values if value != each.default]
    return f"{policy.name}:{','.join(given)}" if given else policy.name


def _number(value: float | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class PruningClause:
    """The clause of a layer that prunes.

    Attributes:
        text: `POLICY @ LAYER`.
        key_bits: Bits of a key's code.
        value_bits: Bits of a value's code.
    """

    text: str
    key_bits: int
    value_bits: int


def pruning_clause(
    specification: KvSpecification, layer: int, keys: float, values: float, survivors: float
) -> PruningClause | None:
    """The clause of one layer with these thresholds.

    Args:
        specification: What the layer has so far.
        layer: Its number.
        keys: Magnitude below which keys are pruned.
        values: The same for values.
        survivors: Share of elements that survive.

    Returns:
        The clause, or `None` when the layer's policies do not prune elements.
    """
    clause = clause_of(specification, layer)
    for policy in clause.policies if clause else ():
        if isinstance(policy, CascadePruneQuantize):
            found = replace(policy, tau_k=keys, tau_v=values, survivors=survivors)
            return PruningClause(f"{policy_text(found)} @ {layer}", policy.bits_k, policy.bits_v)
    return None
