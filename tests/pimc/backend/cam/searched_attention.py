"""Attention of one new token on a CAM, from ONNX, and what it should give in plain numpy."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from benchmarks.decoder_attention import decoder_attention
from isa import Machine, check_program, load_machine
from passes import BinaryKeys
from passes.interpreter.selection import match_codes, match_mask
from pimc.compiler import compile_model
from pimc.simulator import Session

Array = NDArray[Any]


def machine_with(**sizes: int) -> Machine:
    """`cam-camformer` with other sizes of its CAM."""
    facts = load_machine("cam-camformer").model_dump()
    return Machine.model_validate({**facts, "name": "cam-other", "cam": facts["cam"] | sizes})


class SearchedAttention:
    """A program for a machine with a CAM, and keys and values of earlier tokens."""

    def __init__(
        self, machine: Machine, selection: BinaryKeys, heads: int, width: int, context: int, numerics: str = "machine"
    ) -> None:
        self.selection, self.heads, self.width, self.numerics = selection, heads, width, numerics
        policy = f"cam:k={selection.count},tile={selection.tile},tile_top={selection.tile_top}"
        model = decoder_attention(heads, width)
        self.program = compile_model(
            model, machine, max_context=context, numerics=numerics, kv=f"{policy},bits={selection.code_bits}"
        )
        assert check_program(self.program, machine) == []
        self.session = Session(self.program, machine)
        self.random = np.random.default_rng(heads * width + context)

    def inputs(self, past: int) -> dict[str, Array]:
        """A new token and `past` earlier ones."""
        row, kept = (1, 1, self.heads * self.width), (1, self.heads, past, self.width)
        shapes = {"query": row, "key": row, "value": row, "past.key": kept, "past.value": kept}
        return {name: self.random.standard_normal(shape, np.float32) for name, shape in shapes.items()}

    def rounded(self, values: Array) -> Array:
        """As the machine stores numbers."""
        wide = np.asarray(values, np.float32)
        return wide if self.numerics == "fp32" else wide.astype(ml_dtypes.bfloat16).astype(np.float32)

    def keys_and_values(self, inputs: dict[str, Array]) -> tuple[Array, Array]:
        """[heads, tokens, width] with those of the new token."""
        own = (inputs[name].reshape(self.heads, 1, self.width) for name in ("key", "value"))
        pasts = (inputs["past.key"][0], inputs["past.value"][0])
        keys, values = (np.concatenate(pair, axis=1) for pair in zip(pasts, own, strict=True))
        return keys, values

    def expected(self, inputs: dict[str, Array]) -> Array:
        """The published algorithm in numpy, bit for bit: codes, winners of tiles, winners, weights, sums."""
        keys, values = self.keys_and_values(inputs)
        queries = inputs["query"].reshape(self.heads, self.width)
        codes = match_codes(self.selection, queries, keys)
        chosen = match_mask(self.selection, codes, np.ones(codes.shape, bool))
        rows = [self._head(codes[head], chosen[head], self.rounded(values[head])) for head in range(self.heads)]
        return np.concatenate(rows).reshape(1, 1, -1)

    def _head(self, codes: Array, chosen: Array, values: Array) -> Array:
        winners = np.flatnonzero(chosen)
        winners = winners[np.argsort(-codes[winners], kind="stable")]
        signed = (2 * codes[winners] * self.width).astype(np.float32) / np.float32(2**self.selection.code_bits)
        root = float(np.sqrt(np.float32(self.width)))  # as the model has it
        scores = np.float32(1 / root) * (signed - np.float32(self.width))
        exponentials = self.rounded(np.exp(scores - scores[0]))
        total = np.float32(0)
        for each in exponentials:
            total = np.float32(total + each)
        result = np.zeros(self.width, np.float32)
        for weight, value in zip(self.rounded(exponentials / total), values[winners], strict=True):
            result = result + weight * value
        return self.rounded(result)
