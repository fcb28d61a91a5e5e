"""The decoder layers of a graph, as far as a core of digital CIM arrays can run them: one layer a core.

What stands around the layers (embeddings, the last normalisation, the head) stays outside the cores, as in the
published design.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from isa import UnsupportedError
from passes import Graph, Node, Value
from pimc.backend.digital_cim.layer import CimLayer, DeclaredCache

_BIAS = {"attention": 6, "cached_attention": 4}
"""Operand `bias` of each form of attention."""
_MOST_REASONS = 5


def cim_layers(graph: Graph, cache: DeclaredCache) -> list[CimLayer]:
    """The layers of a graph whose attention and feed-forward networks are fused, in order; sizes are those of weights.

    Args:
        graph: After the pass pipeline `default`, or up to `fuse_feed_forward` in it.
        cache: What is declared about keys and values.

    Raises:
        UnsupportedError: there is no attention, or something in a layer that a core has no unit for: each is named.
    """
    attentions = [node for node in graph.nodes if node.op in _BIAS]
    if not attentions:
        raise UnsupportedError(
            f"the graph '{graph.name}' has no layer for a digital CIM core",
            notes=["it has no fused attention"],
            help="give a decoder, and run the passes that fuse attention",
        )
    found = [_Walk(node) for node in attentions]
    layers = [walk.layer(cache) for walk in found]
    for before, after in pairwise(found):
        after.follow(before)
    reasons = [f"{_title(walk.attention)}: {reason}" for walk in found for reason in walk.reasons]
    if reasons:
        raise UnsupportedError(
            f"a digital CIM core cannot run the layers of '{graph.name}'",
            notes=[*reasons[:_MOST_REASONS], *_further(reasons)],
            help="a layer is layer norm, attention with as many key heads as heads, residual, layer norm, two products"
            " with ReLU between them, residual",
        )
    return layers


def _further(reasons: list[str]) -> Iterator[str]:
    if len(reasons) > _MOST_REASONS:
        yield f"{len(reasons) - _MOST_REASONS} further reasons"


def _title(node: Node) -> str:
    return node.origins[0] if node.origins else node.name


@dataclass
class _Walk:
    """From an attention to the ends of its layer.

    Attributes:
        attention: Where it begins.
        reasons: Why no core runs the layer.
        entered: What the layer gets, once it is known.
        left: What it gives, once it is known.
    """

    attention: Node
    reasons: list[str] = field(default_factory=list[str])
    entered: Value | None = None
    left: Value | None = None

    def layer(self, cache: DeclaredCache) -> CimLayer:
        """The layer; its sizes mean nothing when there are reasons against it."""
        self.entered = entered = self._entry()
        hidden = _width(entered) if entered else 0
        self._check_attention(hidden)
        behind = self._residual(self._user(self.attention.output, "linear", "projection of the result"), entered)
        feed_forward = 0
        norm = self._user(behind, "layer_norm", "layer norm behind attention")
        if norm is not None:
            network = self._user(norm.output, "feed_forward", "feed-forward network")
            feed_forward = self._network(network)
            self.left = self._residual(network, behind)
        return CimLayer(hidden, int(str(self.attention.attributes["heads"])), feed_forward, cache)

    def follow(self, before: _Walk) -> None:
        """Refuse the layer when it does not get what the one before it gives, which is what a core passes on."""
        if self.entered is not None and before.left is not None and self.entered is not before.left:
            self._refuse("it does not get what the layer before it gives")

    def _refuse(self, reason: str) -> None:
        if reason not in self.reasons:
            self.reasons.append(reason)

    def _check_attention(self, hidden: int) -> None:
        facts = self.attention.attributes
        heads, scale = int(str(facts["heads"])), float(str(facts["scale"]))
        if hidden and hidden % heads:
            self._refuse(f"{heads} heads do not divide the width {hidden}")
        elif hidden and not math.isclose(scale, (hidden // heads) ** -0.5, rel_tol=1e-4):
            self._refuse(f"scores are multiplied by {scale:.6g}, not by 1 / sqrt(width of a head)")
        if self.attention.optional(_BIAS[self.attention.op]) is not None:
            self._refuse("scores have a bias")
        if facts["heads"] != facts["kv_heads"]:
            self._refuse(f"{facts['heads']} heads share {facts['kv_heads']} key heads")
        if not facts["causal"]:
            self._refuse("attention is not causal")
        if facts["window"]:
            self._refuse("attention has a window")
        if facts["softcap"]:
            self._refuse("scores are capped")

    def _entry(self) -> Value | None:
        """What the layer gets: the operand of the layer norm ahead of query, key and value."""
        names = ("query", "key", "value")
        sources = [self._projected(self.attention.optional(place), name) for place, name in enumerate(names)]
        if None in sources:
            return None
        if len(set(sources)) != 1 or sources[0] is None:
            self._refuse("query, key and value are not projections of one vector")
            return None
        norm = sources[0].producer
        if norm is None or norm.op != "layer_norm":
            self._refuse("there is no layer norm ahead of the projections")
            return None
        entered = _reshaped(norm.operand(0))
        widths = [_width(self.attention.operand(place)) for place in range(3)]
        if set(widths) != {_width(entered)}:
            self._refuse(f"queries, keys and values have widths {widths}, tokens {_width(entered)}")
        return entered

    def _projected(self, value: Value | None, name: str) -> Value | None:
        """The vector that query, key or value is a projection of, past columns of a joint product."""
        node = None if value is None else _reshaped(value).producer
        if node is not None and node.op in ("split", "slice"):
            node = _reshaped(node.operand(0)).producer
        if node is None or node.op != "linear":
            self._refuse(f"{name} comes from {'an input' if node is None else node.op}, not from a projection")
            return None
        return _reshaped(node.operand(0))

    def _user(self, value: Value | None, op: str, what: str) -> Node | None:
        """The one operation `op` behind a value, past changes of shape."""
        users = [] if value is None else [node for node in _users(value) if node.op == op]
        if value is not None and len(users) != 1:
            self._refuse(f"no {what}")
        return users[0] if len(users) == 1 else None

    def _residual(self, node: Node | None, entered: Value | None) -> Value | None:
        """The sum of what an operation gives and of what its part of the layer got."""
        if node is None or entered is None:
            return None
        added = self._user(node.output, "add", f"residual behind {node.op}")
        if added is None:
            return None
        if entered not in [_reshaped(operand) for operand in added.inputs if operand is not None]:
            self._refuse(f"what is added behind {node.op} is not the residual")
        return _reshaped(added.output)

    def _network(self, node: Node | None) -> int:
        """Width of the middle of a feed-forward network."""
        if node is None:
            return 0
        if node.attributes["activation"] != "relu":
            self._refuse(f"its feed-forward network has {node.attributes['activation']}; the core has ReLU")
        if node.optional(3) is not None:
            self._refuse("its feed-forward network is gated")
        return _width(node.operand(1))


def _width(value: Value) -> int:
    return int(str(value.shape[-1]))


def _reshaped(value: Value) -> Value:
    """The value ahead of reshapes that leave its rows as they are."""
    node = value.producer
    while node is not None and node.op == "reshape" and node.operand(0).shape[-1] == value.shape[-1]:
        value = node.operand(0)
        node = value.producer
    return value


def _users(value: Value) -> Iterator[Node]:
    """Operations that use a value, past reshapes that leave its rows as they are."""
    for node in value.users:
        if node.op == "reshape" and node.output.shape[-1] == value.shape[-1]:
            yield from _users(node.output)
        else:
            yield node
