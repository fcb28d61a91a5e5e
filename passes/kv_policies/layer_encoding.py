"""The policies of one layer, with parameters of the one that encodes set anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from passes.kv_policies.cpq import CascadePruneQuantize
from passes.kv_policies.policy import Number, Policy, parameters
from passes.kv_policies.resolution import clause_of
from passes.kv_policies.specification import KvSpecification

_KEY_WIDTHS, _VALUE_WIDTHS = ("bits_k", "bits"), ("bits_v", "value_bits", "bits")


@dataclass(frozen=True)
class LayerEncoding:
    """The policies of one layer, one of which encodes.

    Attributes:
        layer: Its number.
        policies: All of them, in order.
        place: Which of them encodes.
    """

    layer: int
    policies: tuple[Policy, ...]
    place: int

    @property
    def _policy(self) -> Policy:
        return self.policies[self.place]

    @property
    def prunes(self) -> bool:
        """Whether the parameters `tau_k`, `tau_v` and `survivors` exist."""
        return isinstance(self._policy, CascadePruneQuantize)

    @property
    def widths(self) -> dict[str, tuple[int, ...]]:
        """Bits that a code can have, ascending, by the name of the parameter that says so."""
        wanted = {*_KEY_WIDTHS, *_VALUE_WIDTHS}
        known = [each for each in parameters(type(self._policy)) if each.name in wanted]
        ranges = (each.choices or range(int(each.least), int(each.most) + 1) for each in known)
        return {each.name: tuple(sorted(map(int, found))) for each, found in zip(known, ranges, strict=True)}

    @property
    def key_bits(self) -> int:
        """Bits of a key's code."""
        return self._bits(_KEY_WIDTHS)

    @property
    def value_bits(self) -> int:
        """Bits of a value's code."""
        return self._bits(_VALUE_WIDTHS)

    def _bits(self, names: tuple[str, ...]) -> int:
        return next(int(bits) for name in names if (bits := getattr(self._policy, name, None)) is not None)

    @property
    def thresholds(self) -> tuple[float, float]:
        """Magnitudes below which keys and values are pruned; 0 where the policy does not prune."""
        return float(getattr(self._policy, "tau_k", 0)), float(getattr(self._policy, "tau_v", 0))

    def with_values(self, values: Mapping[str, Number]) -> LayerEncoding:
        """The same with these parameters of the encoding policy; raises `InputError` when one is out of its range."""
        changed = cast(Policy, replace(cast(Any, self._policy), **values))
        return replace(self, policies=(*self.policies[: self.place], changed, *self.policies[self.place + 1 :]))

    @property
    def text(self) -> str:
        """`POLICY + POLICY @ LAYER`."""
        return f"{' + '.join(map(policy_text, self.policies))} @ {self.layer}"


def layer_encoding(specification: KvSpecification, layer: int) -> LayerEncoding | None:
    """The policies that a specification has for a layer, `None` when they do not encode."""
    clause = clause_of(specification, layer)
    policies = clause.policies if clause else ()
    places = [place for place, policy in enumerate(policies) if policy.mechanism == "encoding"]
    return LayerEncoding(layer, policies, places[0]) if places else None


def policy_text(policy: Policy) -> str:
    """The policy as specifications spell it, without parameters that have their defaults; floats in six digits."""
    values = [(each, getattr(policy, each.name)) for each in parameters(type(policy))]
    given = [f"{each.name}={_number(value)}" for each, value in values if value != each.default]
    return f"{policy.name}:{','.join(given)}" if given else policy.name


def _number(value: Number) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
