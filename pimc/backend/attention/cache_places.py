"""Where KV caches can lie, and the code of attention there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from passes import Node
from pimc.backend.attention.attention_in_banks import attend
from pimc.backend.attention.cache_append import append_key, append_value
from pimc.backend.cam.attention_in_cam import append_searched_value, append_signs, attend_in_cam
from pimc.backend.crossbar.attention_in_arrays import append_key_column, append_value_column, attend_in_arrays
from pimc.backend.lowering import Lowering


@dataclass(frozen=True)
class CachePlace:
    """The code of attention over a cache in one kind of memory.

    Attributes:
        append_key: Emits the writing of the current token's key.
        append_value: Emits the writing of its value.
        attend: Emits scores, softmax and weighted sum; its last argument says whether the value still has to be
            appended, which is done on the way.
    """

    append_key: Callable[[Lowering, Node], None]
    append_value: Callable[[Lowering, Node], None]
    attend: Callable[[Lowering, Node, bool], None]


CACHE_PLACES = {
    "banks": CachePlace(append_key, append_value, attend),
    "crossbar": CachePlace(append_key_column, append_value_column, attend_in_arrays),
    "cam": CachePlace(append_signs, append_searched_value, attend_in_cam),
}
"""By the name of the unit, as `CacheRooms.unit` has it."""


def place_of(low: Lowering, node: Node) -> CachePlace:
    """The place of the cache of a `cached_attention`."""
    return CACHE_PLACES[low.caches[str(node.attributes["cache"])].unit]
