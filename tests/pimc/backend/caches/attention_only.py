"""A program that is one attention over a KV cache, whose queries, keys and values the test gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from isa import Machine, Program, check_program, load_machine
from passes import Cache, Caches, Compression, Graph, PlaceWeights, TensorType, interpret, symbol
from pimc.backend import ProgramOptions, build_program
from pimc.simulator import Session

Array = NDArray[Any]
MACHINE = load_machine("gddr6-aim")


@dataclass(frozen=True)
class Attention:
    """Shape of an attention, and what its cache does.

    Attributes:
        compression: What the cache does.
        heads: Query heads.
        kv_heads: Key/value heads.
        head_dim: Channels of a key.
        value_dim: Channels of a value; those of a key when 0.
        context: Tokens that the program has room for.
        numerics: Of the program.
        softcap: Bound of the scores, 0 for none.
    """

    compression: Compression | None
    heads: int = 2
    kv_heads: int = 1
    head_dim: int = 32
    value_dim: int = 0
    context: int = 200
    numerics: str = "fp32"
    softcap: float = 0.0

    @property
    def widths(self) -> tuple[int, int, int]:
        """Elements of a token's query, key and value."""
        value = self.value_dim or self.head_dim
        return self.heads * self.head_dim, self.kv_heads * self.head_dim, self.kv_heads * value

    def graph(self) -> Graph:
        """Inputs query, key and value, the attention, its output."""
        graph, tokens, past = Graph("attention"), symbol("seq"), symbol("past")
        inputs = []
        for name, width in zip(("query", "key", "value"), self.widths, strict=True):
            kind = TensorType("float32", (1, tokens, width))
            graph.signature[name] = kind
            inputs.append(graph.add_input(name, kind))
        dims = (self.head_dim, self.value_dim or self.head_dim)
        ports = ("past.key", "past.value", "present.key", "present.value")
        graph.caches["cache"] = Cache("cache", self.kv_heads, *dims, *ports, compression=self.compression)
        for port, width, length in zip(ports, dims * 2, (past, past, past + tokens, past + tokens), strict=True):
            graph.signature[port] = TensorType("float32", (1, self.kv_heads, length, width))
        shape = (1, tokens, self.heads * dims[1])
        facts = {"heads": self.heads, "kv_heads": self.kv_heads, "scale": self.head_dim**-0.5, "causal": True}
        facts |= {"window": 0, "softcap": self.softcap, "cache": "cache"}
        node = graph.add_node("cached_attention", inputs, [TensorType("float32", shape)], facts)
        graph.outputs["result"] = node.output
        graph.signature["result"] = node.output.type
        return graph


class AttentionUnderTest:
    """A program on the simulator, and next to it the meaning of its graph in numpy."""

    def __init__(self, attention: Attention, machine: Machine = MACHINE, seed: int = 0, chunk: int = 64) -> None:
        self.attention = attention
        self.graph = attention.graph()
        PlaceWeights(machine).run(self.graph)
        self.program: Program = build_program(
            self.graph, machine, ProgramOptions(attention.context, chunk, attention.numerics, {})
        )
        assert check_program(self.program, machine) == []
        self.session = Session(self.program, machine)
        self.caches: Caches = {}
        self.random = np.random.default_rng(seed)

    def inputs(self, tokens: int) -> dict[str, Array]:
        """The next tokens: some channels much larger than others, as keys have."""
        query, key, value = (
            self.random.standard_normal((1, tokens, width)).astype(np.float32) for width in self.attention.widths
        )
        return {
            "query": query,
            "key": key * np.where(np.arange(key.shape[-1]) % 7 == 3, 5, 1).astype(np.float32),
            "value": value,
        }

    def run(self, tokens: int) -> None:
        """Run some tokens on both sides; outputs must be alike."""
        self.step(self.inputs(tokens))

    def step(self, inputs: dict[str, Array]) -> None:
        """Run given tokens on both sides; outputs must be alike."""
        wide = self.attention.numerics == "fp32"
        held = (lambda x: x) if wide else _bfloat16
        expected = interpret(self.graph, inputs, caches=self.caches, stored=held)["result"]
        found = self.session.run(inputs, ["result"])["result"]
        scale = max(1.0, float(np.abs(expected).max()))
        if wide:
            np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=1e-4)
        else:
            flat = found.ravel().astype(np.float64), expected.ravel().astype(np.float64)
            cosine = flat[0] @ flat[1] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[1])
            assert cosine > 0.999

    def reset(self) -> None:
        """Begin a new sequence."""
        self.session.reset()
        self.caches.clear()


def _bfloat16(x: Array) -> Array:
    return x.astype(ml_dtypes.bfloat16).astype(np.float32)
