"""What a way of spelling transformer parts in ONNX operators has to offer, and the spellings there are by name."""

from __future__ import annotations

from typing import Protocol

from dynamo_spelling import DynamoSpelling
from model_weights import WeightSource
from onnx_builder import GraphBuilder, Value
from torchscript_spelling import TorchScriptSpelling


class Spelling(Protocol):
    """The parts of a transformer; `b` is the batch, `s` the new tokens, `t` all tokens, `h` heads, `d` the head size.

    Call `causal_mask` or `padding_mask` before the parts that reshape: they find the lengths of the call.
    """

    builder: GraphBuilder

    def causal_mask(
        self, input_ids: Value, hidden: Value, attention_mask: Value, past: list[Value], window: int | None
    ) -> Value:
        """Returns the bool mask `[b, 1, s, t]`: which key each new token may see, of those that are no padding.

        Args:
            input_ids: int64 `[b, s]`.
            hidden: embedded tokens `[b, s, hidden]`.
            attention_mask: int64 `[b, t]`, 0 for padding.
            past: cached keys and values of all layers in the order of the inputs; empty without a cache.
            window: how many latest keys are visible, the token's own included; None for all.
        """
        ...

    def padding_mask(self, token_type_ids: Value, hidden: Value, attention_mask: Value) -> Value:
        """Returns the bool mask `[b, 1, s, s]` of an encoder."""
        ...

    def rotary_tables(self, position_ids: Value, head_dim: int, theta: float) -> tuple[Value, Value]:
        """Returns cosine and sine `[b, s, d]` of the positions' angles."""
        ...

    def rotary_factors(self, tables: tuple[Value, Value]) -> tuple[Value, Value]:
        """Returns the tables as a layer uses them, `[b, 1, s, d]`."""
        ...

    def rotate(self, states: Value, factors: tuple[Value, Value], head_dim: int) -> Value:
        """Rotates `[b, h, s, d]`, pairing dimension i with i + d / 2."""
        ...

    def rms_norm(self, hidden: Value, weight: Value, epsilon: float) -> Value:
        """Divides by the root mean square of the last axis and scales."""
        ...

    def layer_norm(
        self, hidden: Value, weight: Value, bias: Value, epsilon: float, output: Value | None = None
    ) -> Value:
        """Normalises the last axis, scales and shifts; makes the value `output` if that is given."""
        ...

    def linear(self, hidden: Value, weight: Value, bias: Value | None = None) -> Value:
        """Multiplies by a weight `[in, out]` and adds the bias."""
        ...

    def affine(self, hidden: Value, weight: Value, bias: Value, width: int, features: int) -> Value:
        """Does the same as `linear` in GPT-2's way: Gemm over all tokens flattened; `width` in, `features` out."""
        ...

    def split_three(self, hidden: Value, width: int) -> list[Value]:
        """Cuts the last axis into three parts of `width`."""
        ...

    def split_heads(self, hidden: Value, head_dim: int) -> Value:
        """Turns `[b, s, h * d]` into `[b, h, s, d]`."""
        ...

    def merge_heads(self, states: Value, width: int) -> Value:
        """Turns `[b, h, s, d]` into `[b, s, h * d]`, which is `width` wide."""
        ...

    def extend_cache(self, past: Value, states: Value, output: Value) -> Value:
        """Appends the new keys or values to the past ones along the token axis, as the graph output `output`."""
        ...

    def repeat_heads(self, states: Value, kv_heads: int, groups: int, head_dim: int) -> Value:
        """Repeats each of the `kv_heads` heads of `[b, kv_heads, t, d]` `groups` times in a row."""
        ...

    def attention(self, query: Value, key: Value, value: Value, mask: Value, head_dim: int) -> Value:
        """Scaled dot product attention, `[b, h, s, d]`."""
        ...

    def silu(self, hidden: Value) -> Value:
        """x * sigmoid(x)."""
        ...

    def gelu(self, hidden: Value) -> Value:
        """The exact GELU, by the error function."""
        ...

    def gelu_tanh(self, hidden: Value) -> Value:
        """GPT-2's approximation of GELU by tanh (`gelu_new`)."""
        ...

    def tokens(self, input_ids: Value) -> Value:
        """Returns the ids as GPT-2 embeds them, flattened to `[b, s]`."""
        ...

    def flat_mask(self, attention_mask: Value, input_ids: Value) -> Value:
        """Returns the mask as GPT-2 uses it, flattened to `[b, t]`."""
        ...


SPELLINGS: dict[str, type[DynamoSpelling] | type[TorchScriptSpelling]] = {
    "dynamo": DynamoSpelling,
    "torchscript": TorchScriptSpelling,
}


def make_spelling(name: str, weights: WeightSource) -> Spelling:
    """Returns a spelling with its empty graph.

    Args:
        name: `dynamo` (opset 20) or `torchscript` (opset 17).
        weights: where the graph's weights come from.

    Raises:
        ValueError: for any other name.
    """
    if name not in SPELLINGS:
        raise ValueError(f"unknown spelling {name!r}: choose from {', '.join(SPELLINGS)}")
    return SPELLINGS[name](weights)
