"""From a specification to the mechanisms of every layer."""

from __future__ import annotations

from collections.abc import Sequence

from isa import InputError
from passes.kv_policies.combination import combined
from passes.kv_policies.mechanisms import Compression
from passes.kv_policies.policy import Layer
from passes.kv_policies.specification import Clause, KvSpecification


def resolve(specification: KvSpecification, layers: Sequence[Layer]) -> tuple[Compression | None, ...]:
    """The compression of each layer, `None` where everything is kept.

    Raises:
        InputError: a clause names a layer that does not exist, or a layer's shape does not allow its policies.
    """
    for clause in specification.clauses:
        _check_layers(clause, len(layers))
    return tuple(_compression(clause_of(specification, layer.number), layer) for layer in layers)


def clause_of(specification: KvSpecification, layer: int) -> Clause | None:
    """The last clause that speaks about a layer, `None` when there is none."""
    return next((clause for clause in reversed(specification.clauses) if clause.covers(layer)), None)


def _check_layers(clause: Clause, count: int) -> None:
    for _, last in clause.layers or ():
        if last >= count:
            raise InputError(
                f"there is no layer {last}",
                clause.layers_place,
                notes=[f"the model's {count} layers with a cache have the numbers 0 to {count - 1}"],
            )


def _compression(clause: Clause | None, layer: Layer) -> Compression | None:
    if clause is None:
        return None
    try:
        return combined(clause.policies, layer)
    except InputError as problem:
        notes = [*problem.notes, f"layer {layer.number} of {layer.count}"]
        raise InputError(problem.message, clause.place, notes, problem.help) from None
