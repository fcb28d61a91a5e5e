"""Room in crossbars and in the associative memory that the blocks of a program take."""

from __future__ import annotations

from dataclasses import dataclass, field

from isa import Crossbar
from passes.ir import Cache, Node
from passes.units.array_tiles import array_tiles
from passes.units.unit_costs import BlockCost
from passes.weight_uses import WeightUse, weight_uses


@dataclass
class TakenRoom:
    """What blocks have taken; matrices and caches that several of them use count once.

    Attributes:
        crossbar: The crossbars, if there are any.
        groups: Groups of arrays that are taken.
        keys: Rows of the associative memory that are taken.
        matrices: What the groups hold of weights.
        caches: Shared names of the caches that have room.
    """

    crossbar: Crossbar | None
    groups: int = 0
    keys: int = 0
    matrices: list[WeightUse] = field(default_factory=list[WeightUse])
    caches: set[str] = field(default_factory=set[str])

    def demand(self, node: Node, cache: Cache | None, cost: BlockCost) -> tuple[int, int]:
        """Groups and keys that a block takes beyond what is taken.

        Args:
            node: The block.
            cache: The cache of its attention, `None` for products.
            cost: Its cost on the unit that it shall run on.
        """
        if cache is not None:
            return (0, 0) if cache.shared_name in self.caches else (cost.groups, cost.keys)
        if self.crossbar is None or not cost.groups:
            return (0, 0)
        new = [use for use in weight_uses(node) if not use.is_among(self.matrices)]
        return (sum(len(array_tiles(self.crossbar, *use.shape, 0)) for use in new), 0)

    def take(self, node: Node, cache: Cache | None, cost: BlockCost) -> None:
        """Take what `demand` says."""
        groups, keys = self.demand(node, cache, cost)
        self.groups, self.keys = self.groups + groups, self.keys + keys
        if cache is None and cost.groups:
            self.matrices += weight_uses(node)
        if cache is not None and cache.shared_name:
            self.caches.add(cache.shared_name)
