"""A core for a layer of 32 channels, and the layer in numpy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import isa
from pimc.backend import CimLayer, DeclaredCache, LayerNumbers
from pimc.simulator import Simulator

F = np.float32
Words = NDArray[np.float32]

SMALL = """
name: small-core
extends: dcim-titanus
digital_cim:
  macro_inputs: 16
  macro_outputs: 8
  matrices:
    query: [32, 32]
    key: [32, 32]
    value: [32, 32]
    output: [32, 32]
    up: [32, 64]
    down: [64, 32]
  engines: {count: 2, lanes: 16}
  softmax: {count: 2, lanes: 4}
  norm: {count: 3, lanes: 4}
  relu: {lanes: 16}
  prune: {lanes: 8}
  quantise: {lanes: 4}
  dequantise: {lanes: 4}
off_chip: {capacity_bytes: 65536}
"""

LAYER = CimLayer(
    hidden=32,
    heads=2,
    feed_forward=64,
    cache=DeclaredCache(0.3, 0.5, 0.4, 4.0, 3.0),
    numbers=LayerNumbers(scales=(0.003, 0.003, 0.003, 0.005, 0.003, 0.003), score_step=0.0005, threshold=20.0),
)


def small_core(folder: Path, text: str = "") -> isa.Machine:
    path = folder / "m.yaml"
    path.write_text(SMALL + text)
    return isa.load_machine(str(path))


def int8(values: Words) -> Words:
    return np.clip(np.rint(values), -128, 127).astype(F)


@dataclass
class NumpyLayer:
    """The layer with INT8 tiles, token by token; keys and values of earlier tokens are what their codes are worth."""

    layer: CimLayer
    weights: dict[str, NDArray[np.int8]]
    gains: NDArray[np.float32]
    addends: dict[str, Words]
    scales: Words  # of the codes of each channel
    zeros: Words

    def norm(self, x: Words, number: int) -> Words:
        centred = x - x.mean(dtype=F)
        deviation = np.sqrt(np.mean(centred * centred, dtype=F) + F(1e-5))
        gain, bias = self.gains[number]
        return int8(centred / deviation * gain + bias)

    def product(self, name: str, vector: Words, addend: Words) -> Words:
        sums = int8(vector).astype(np.int64) @ self.weights[name].astype(np.int64)
        scale = self.layer.numbers.scales[isa.DIGITAL_CIM_MATRICES.index(name)]
        return addend + sums.astype(F) * F(scale)

    def key_value(self, x: Words) -> Words:
        normed = self.norm(x, 0)
        both = np.concatenate([self.product(name, normed, self.addends[name]) for name in ("key", "value")])
        if not self.layer.cache.prunes:
            return both
        return np.where(np.abs(both) >= F(self.layer.numbers.threshold), both, F(0))

    def through_codes(self, kv: Words) -> Words:
        """What is left of keys and values that were off chip."""
        if not self.layer.cache.quantises:
            return int8(kv)
        steps = (1 << self.layer.cache.code_bits) - 2
        codes = np.clip(np.rint((kv - self.zeros) / self.scales), 0, steps)
        return np.where(kv == 0, F(0), codes.astype(F) * self.scales + self.zeros).astype(F)

    def token(self, x: Words, context: Words) -> Words:
        """Output of a token that attends to `context` [tokens, 2 * hidden], its own keys and values last."""
        hidden, width = self.layer.hidden, self.layer.head_width
        query = int8(self.product("query", self.norm(x, 0), self.addends["query"]))
        attended = np.zeros(hidden, F)
        for head in range(self.layer.heads):
            own = slice(head * width, (head + 1) * width)
            products = int8(context[:, own]).astype(np.int64) @ query[own].astype(np.int64)
            scores = products.astype(F) * F(self.layer.numbers.score_step * width**-0.5)
            powers = np.exp(scores - scores.max())
            shares = int8(F(127) * (powers / powers.sum()))
            values = int8(context[:, hidden:][:, own])
            attended[own] = (shares.astype(np.int64) @ values.astype(np.int64)).astype(F) * F(1 / 127)
        residual = self.product("output", attended, x)
        middle = int8(self.product("up", self.norm(residual, 1), self.addends["up"]))
        return self.product("down", np.maximum(middle, F(0)), residual)


def variants() -> dict[str, CimLayer]:
    """The layer with all units, and with those of pruning or of codes switched off."""
    pruned, coded = LAYER.cache.without_codes(), LAYER.cache.without_pruning()
    caches = {"both": LAYER.cache, "pruned": pruned, "coded": coded, "plain": pruned.without_pruning()}
    return {name: replace(LAYER, cache=cache) for name, cache in caches.items()}


def random_layer(seed: int, layer: CimLayer = LAYER) -> NumpyLayer:
    random = np.random.default_rng(seed)
    sizes = dict.fromkeys(isa.DIGITAL_CIM_MATRICES, (32, 32)) | {"up": (32, 64), "down": (64, 32)}
    weights = {name: random.integers(-128, 128, size).astype(np.int8) for name, size in sizes.items()}
    gains = np.stack([random.uniform(20, 60, (2, 32)), random.uniform(-9, 9, (2, 32))], axis=1).astype(F)
    addends = {name: random.uniform(-9, 9, sizes[name][1]).astype(F) for name in ("query", "key", "value", "up")}
    scales = random.uniform(8, 20, 64).astype(np.float16).astype(F)
    zeros = random.uniform(-140, -90, 64).astype(np.float16).astype(F)
    return NumpyLayer(layer, weights, gains, addends, scales, zeros)


def place_numbers(simulator: Simulator, model: NumpyLayer) -> None:
    """Put weights, gains, addends and scales of a layer on a core, and the weights into its arrays."""
    program, state = simulator.program, simulator.state
    weights = np.concatenate([model.weights[name].reshape(-1) for name in isa.DIGITAL_CIM_MATRICES])
    at = program.metadata["off_chip"]["weights_at"]
    state.cim.off_chip[at : at + weights.size] = weights.view(np.uint8)
    for name, words in (
        ("gains", model.gains.reshape(-1)),
        ("addends", np.concatenate([model.addends[name] for name in ("query", "key", "value", "up")])),
    ):
        start = program.symbol(name).address
        state.shared[start : start + words.size] = words
    meta = program.symbol("meta").address
    state.shared_integers[meta : meta + 64] = _half(model.scales) | _half(model.zeros) << 16
    simulator.run("load")


def _half(values: Words) -> NDArray[np.int32]:
    return values.astype(np.float16).view(np.uint16).astype(np.int32)
