"""Small graphs in the form that the passes hand to the backend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from passes import Cache, Graph, TensorType, Value, symbol


@dataclass
class FusedDecoder:
    """A decoder: embedding, rotary or learned positions, attention, feed-forward, tied head."""

    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    inner: int = 96
    vocabulary: int = 300
    layers: int = 2
    window: int = 0
    key_mask: bool = False
    causal: bool = True
    context: int = 700
    seed: int = 0

    def build(self) -> Graph:
        self.random = np.random.default_rng(self.seed)
        self.graph = graph = Graph("decoder")
        tokens, past = symbol("seq"), symbol("past")
        self.tokens = tokens
        self.ids = self._input("input_ids", TensorType("int64", (1, tokens)))
        positions = self._input("position_ids", TensorType("int64", (1, tokens)))
        self.mask: Value | None = None
        if self.key_mask:
            raw = self._input("attention_mask", TensorType("int64", (1, past + tokens if self.causal else tokens)))
            self.mask = self._node("cast", [raw], "bool", raw.shape, to="bool")
        table = self._weight((self.vocabulary, self.hidden), 1.0)
        self.cosine, self.sine = self._rotary_tables(positions)
        x = self._node("gather", [table, self.ids], "float32", (1, tokens, self.hidden), axis=0)
        for layer in range(self.layers):
            x = self._layer(x, layer)
        x = self._node("rms_norm", [x, self._weight((self.hidden,), 1.0)], "float32", x.shape, epsilon=1e-5)
        assert table.constant is not None
        head = graph.add_constant(np.ascontiguousarray(table.constant.T), "head")
        logits = self._node("linear", [x, head, None], "float32", (1, tokens, self.vocabulary))
        graph.outputs["logits"] = logits
        graph.signature["logits"] = logits.type
        return graph

    def _input(self, name: str, kind: TensorType) -> Value:
        self.graph.signature[name] = kind
        return self.graph.add_input(name, kind)

    def _weight(self, shape: tuple[int, ...], scale: float | None = None) -> Value:
        spread = scale if scale is not None else shape[0] ** -0.5
        array: NDArray[np.float32] = (self.random.standard_normal(shape) * spread).astype(np.float32)
        return self.graph.add_constant(array, "w")

    def _node(self, op: str, inputs, dtype: str, extent, /, **attributes) -> Value:  # type: ignore[no-untyped-def]
        return self.graph.add_node(op, inputs, [TensorType(dtype, tuple(extent))], attributes).output

    def _rotary_tables(self, positions: Value) -> tuple[Value, Value]:
        half = self.head_dim // 2
        real = self._node("cast", [positions], "float32", (1, self.tokens), to="float32")
        column = self._node("reshape", [real], "float32", (1, self.tokens, 1), shape=(1, self.tokens, 1))
        frequency = self.graph.add_constant((10000.0 ** (-np.arange(half) / half)).astype(np.float32)[None, None])
        angle = self._node("mul", [column, frequency], "float32", (1, self.tokens, half))
        return self._node("cos", [angle], "float32", angle.shape), self._node("sin", [angle], "float32", angle.shape)

    def _layer(self, x: Value, layer: int) -> Value:
        width, kv_width = self.heads * self.head_dim, self.kv_heads * self.head_dim
        shape = (1, self.tokens)
        normal = self._node("rms_norm", [x, self._weight((self.hidden,), 1.0)], "float32", x.shape, epsilon=1e-5)
        joint = self._node(
            "linear",
            [normal, self._weight((self.hidden, width + 2 * kv_width)), self._weight((width + 2 * kv_width,), 0.1)],
            "float32",
            (*shape, width + 2 * kv_width),
        )
        sizes = (width, kv_width, kv_width)
        parts = self.graph.add_node(
            "split", [joint], [TensorType("float32", (*shape, s)) for s in sizes], {"axis": 2, "sizes": sizes}
        ).outputs
        query, key = (
            self._node("rotary", [part, self.cosine, self.sine], "float32", part.shape, heads=heads, interleaved=False)
            for part, heads in ((parts[0], self.heads), (parts[1], self.kv_heads))
        )
        name = f"layer{layer}"
        ports = [f"past.{layer}.key", f"past.{layer}.value", f"present.{layer}.key", f"present.{layer}.value"]
        if not self.causal:
            ports = []
        self.graph.caches[name] = Cache(name, self.kv_heads, self.head_dim, self.head_dim, *ports)
        past = symbol("past")
        for port, length in zip(ports, (past, past, past + self.tokens, past + self.tokens), strict=False):
            kind = TensorType("float32", (1, self.kv_heads, length, self.head_dim))
            self.graph.signature[port] = kind
        attention = self._node(
            "cached_attention",
            [query, key, parts[2], self.mask],
            "float32",
            (*shape, width),
            heads=self.heads,
            kv_heads=self.kv_heads,
            scale=self.head_dim**-0.5,
            causal=self.causal,
            window=self.window,
            softcap=0.0,
            cache=name,
        )
        back = self._node("linear", [attention, self._weight((width, self.hidden)), None], "float32", x.shape)
        x = self._node("add", [x, back], "float32", x.shape)
        normal = self._node("rms_norm", [x, self._weight((self.hidden,), 1.0)], "float32", x.shape, epsilon=1e-5)
        inner = self._node(
            "feed_forward",
            [
                normal,
                self._weight((self.hidden, self.inner)),
                None,
                self._weight((self.hidden, self.inner)),
                None,
                self._weight((self.inner, self.hidden)),
                None,
            ],
            "float32",
            x.shape,
            activation="silu",
        )
        return self._node("add", [x, inner], "float32", x.shape)
