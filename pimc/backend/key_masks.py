"""Key masks that the host gives, so that it can say when they exclude nothing."""

from __future__ import annotations

from passes import EXCLUDED_BELOW, Graph, Value

MASK_DEPTH = 1e30
"""What an excluded position loses before the softmax; finite, so that no later product is NaN."""

LEAST_MAXIMUM = EXCLUDED_BELOW
"""Between the scores of attended and of excluded positions: the largest score of a row without any key is below."""

LEAST_SUM = 1e-30
"""Below every sum of a softmax over attended positions, which is at least 1."""

_RENAMES = frozenset({"cast", "reshape", "identity"})


def input_masks(graph: Graph) -> dict[Value, Value]:
    """For every key mask that is an input, or a mere conversion of one, that input."""
    found: dict[Value, Value] = {}
    for node in graph.nodes:
        mask = node.optional(3) if node.op == "cached_attention" else None
        source = mask
        while source is not None and source.producer is not None and _is_rename(source):
            source = source.producer.operand(0)
        if mask is not None and source is not None and source in graph.inputs and source.shape == mask.shape:
            found[mask] = source
    return found


def _is_rename(value: Value) -> bool:
    node = value.producer
    return node is not None and node.op in _RENAMES and not (node.op == "cast" and value.type.dtype != "bool")
