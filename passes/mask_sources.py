"""What a mask is computed from: lengths alone, or one value with an element for each key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from passes.dims import Affine, Dim
from passes.extraction import extract, needed_nodes
from passes.ir import Graph, Value
from passes.matching import Refusal


def mask_source(values: Sequence[Value], keys: Dim) -> tuple[Graph, list[Value], Value | None]:
    """The values as a graph of their own.

    Returns:
        The graph, the values in it, and the key mask [B, T] of the original graph that is its only input, `None` when
        it has no input. The key mask is the model's input where that has one element for each key, otherwise the first
        such value that all inputs go through.

    Raises:
        Refusal: The values depend on something else.
    """
    part, copies = extract(values)
    names = sorted(value.name for value in part.inputs)
    if not names:
        return part, copies, None
    for candidate in _candidates(values, keys):
        cut, cut_copies = extract(values, (candidate,))
        if [value.name for value in cut.inputs] == [candidate.name]:
            return cut, cut_copies, candidate
    if len(names) > 1:
        raise Refusal(f"the mask depends on several inputs: {', '.join(names)}")
    raise Refusal(f"the mask depends on '{names[0]}', which does not have one element for each key")


def _candidates(values: Sequence[Value], keys: Dim) -> Iterator[Value]:
    """Values with one element for each key: inputs of the model, then what is computed from them, in order."""
    nodes = list(needed_nodes(values))
    read = [value for node in nodes for value in node.inputs if value is not None and value.producer is None]
    computed = [value for node in nodes for value in node.outputs]
    return (value for value in dict.fromkeys([*read, *values, *computed]) if _is_row_a_sequence(value, keys))


def _is_row_a_sequence(value: Value, keys: Dim) -> bool:
    if value.is_constant or value.type.rank < 2 or value.shape[-1] != keys:
        return False
    batch = value.shape[0]
    is_batch = isinstance(batch, int) or not isinstance(keys, Affine) or not batch.symbols & keys.symbols
    return is_batch and all(dim == 1 for dim in value.shape[1:-1])
