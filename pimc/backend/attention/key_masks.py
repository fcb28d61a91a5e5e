"""Key masks that the host gives, so that it can say when they exclude nothing."""

from __future__ import annotations

from passes import EXCLUDED_BELOW, Graph, Value, mask_input

MASK_DEPTH = 1e30
"""What an excluded position loses before the softmax; finite, so that no later product is NaN."""

LEAST_MAXIMUM = EXCLUDED_BELOW
"""Between the scores of attended and of excluded positions: the largest score of a row without any key is below."""

LEAST_SUM = 1e-30
"""Below every sum of a softmax over attended positions, which is at least 1."""


def input_masks(graph: Graph) -> dict[Value, Value]:
    """For every key mask that is an input, or a mere conversion of one, that input."""
    masks = [mask for node in graph.nodes if node.op == "cached_attention" and (mask := node.optional(3)) is not None]
    return {mask: source for mask in masks if (source := mask_input(mask)) is not None}
