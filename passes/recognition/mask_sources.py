"""What a mask is computed from: lengths alone, or one value with an element for each key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from passes.dims import Affine, Dim
from passes.ir import Graph, Value
from passes.recognition.extraction import extract, needed_nodes
from passes.recognition.matching import Refusal


@dataclass(frozen=True)
class MaskSource:
    """Values as a graph of their own.

    Attributes:
        part: The graph.
        values: The values in it.
        key_mask: The value [B, T] of the original graph that is its only input; `None` when it has no input.
    """

    part: Graph
    values: list[Value]
    key_mask: Value | None


def mask_sources(values: Sequence[Value], keys: Dim) -> Iterator[MaskSource]:
    """Ways to see what the values are computed from, one at least.

    The key mask is the model's input where that has one element for each key, otherwise the first such value that all
    inputs go through; besides, the last one of them when it is bool.

    Raises:
        Refusal: The values depend on something else.
    """
    part, copies = extract(values)
    names = sorted(value.name for value in part.inputs)
    if not names:
        yield MaskSource(part, copies, None)
        return
    rows = [source for value in _candidates(values, keys) if (source := _cut_at(values, value)) is not None]
    if not rows and len(names) > 1:
        raise Refusal(f"the mask depends on several inputs: {', '.join(names)}")
    if not rows:
        raise Refusal(f"the mask depends on '{names[0]}', which does not have one element for each key")
    yield rows[0]
    yield from (source for source in rows[:0:-1][:1] if source.key_mask and source.key_mask.type.dtype == "bool")


def _cut_at(values: Sequence[Value], row: Value) -> MaskSource | None:
    """The values as computed from one value alone, `None` when they need more."""
    part, copies = extract(values, (row,))
    is_only = [value.name for value in part.inputs] == [row.name]
    return MaskSource(part, copies, row) if is_only else None


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


_RENAMES = frozenset({"cast", "reshape", "identity"})


def mask_input(mask: Value) -> Value | None:
    """The input that a key mask is, or is a mere conversion of; `None` when the model computes the mask."""
    source = mask
    while source.producer is not None and _is_rename(source):
        source = source.producer.operand(0)
    is_input = source.producer is None and not source.is_constant
    return source if is_input and source.shape == mask.shape else None


def _is_rename(value: Value) -> bool:
    node = value.producer
    return node is not None and node.op in _RENAMES and not (node.op == "cast" and value.type.dtype != "bool")
