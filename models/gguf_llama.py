"""Reads a Llama-like model out of a GGUF file: configuration, float32 weights by checkpoint name, and tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGUFReader, dequantize
from llama import LlamaConfig
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

CONTROL_TOKEN = 3
"""Token type of special tokens in `tokenizer.ggml.token_type`."""

LAYER_TENSORS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Names of a layer's weights: in the checkpoint, and in GGUF."""


@dataclass(frozen=True)
class LlamaGguf:
    """An opened GGUF file of the architecture `llama`."""

    reader: GGUFReader

    @classmethod
    def open(cls, path: Path) -> LlamaGguf:
        """Opens `path`.

        Raises:
            ValueError: when the file holds another architecture.
        """
        model = cls(GGUFReader(path))
        architecture = model.field("general.architecture")
        if architecture != "llama":
            raise ValueError(f"{path.name} holds a model of architecture {architecture!r}, not 'llama'")
        return model

    def field(self, name: str):
        """Returns a metadata value.

        Raises:
            KeyError: when the file has no such field.
        """
        return self.reader.fields[name].contents()

    def config(self, layers: int | None = None) -> LlamaConfig:
        """Returns the shape of the model, or of its first `layers` layers."""
        heads = self.field("llama.attention.head_count")
        hidden = self.field("llama.embedding_length")
        return LlamaConfig(
            vocabulary=self.field("llama.vocab_size"),
            hidden=hidden,
            layers=min(layers or self.field("llama.block_count"), self.field("llama.block_count")),
            heads=heads,
            kv_heads=self.field("llama.attention.head_count_kv"),
            head_dim=hidden // heads,
            intermediate=self.field("llama.feed_forward_length"),
            rope_theta=self.field("llama.rope.freq_base"),
            norm_epsilon=self.field("llama.attention.layer_norm_rms_epsilon"),
            tied="output.weight" not in {tensor.name for tensor in self.reader.tensors},
        )

    def weights(self) -> GgufWeights:
        """Returns the weights by checkpoint name; each is dequantised when it is asked for."""
        heads = {"q": self.field("llama.attention.head_count"), "k": self.field("llama.attention.head_count_kv")}
        return GgufWeights({tensor.name: tensor for tensor in self.reader.tensors}, heads)

    def tokenizer(self) -> Tokenizer:
        """Rebuilds the byte-level BPE tokenizer: digits one by one, then GPT-2's words; no normalisation.

        Raises:
            ValueError: when the file's tokenizer is of another kind.
        """
        kind = self.field("tokenizer.ggml.model"), self.field("tokenizer.ggml.pre")
        if kind != ("gpt2", "smollm"):
            raise ValueError(f"the tokenizer is {kind[0]!r} with pre-tokenizer {kind[1]!r}, not 'gpt2' with 'smollm'")
        tokens = self.field("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" ")) for merge in self.field("tokenizer.ggml.merges")]
        vocabulary = {token: index for index, token in enumerate(tokens)}
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, fuse_unk=False))
        words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
        tokenizer.decoder = decoders.ByteLevel()
        types = self.field("tokenizer.ggml.token_type")
        special = [token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL_TOKEN]
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
        return tokenizer


@dataclass(frozen=True)
class GgufWeights:
    """A weight source over the tensors of a GGUF file.

    Attributes:
        tensors: the file's tensors by GGUF name.
        rotated_heads: number of heads of the projections `q` and `k`, whose rows GGUF keeps in another order.
    """

    tensors: Mapping[str, object]
    rotated_heads: Mapping[str, int]

    def read(self, name: str, shape: tuple[int, ...], mean: float, deviation: float) -> npt.NDArray[np.float32]:
        """Returns a dequantised weight in the checkpoint's layout.

        Raises:
            ValueError: when its shape is not the one that the configuration implies.
        """
        tensor = self.tensors[gguf_name(name)]
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        for part, heads in self.rotated_heads.items():
            if name.endswith(f"self_attn.{part}_proj.weight"):
                values = halves_from_pairs(values, heads)
        if values.shape != shape:
            raise ValueError(f"{name} has shape {list(values.shape)}, the configuration asks {list(shape)}")
        return values

    def names(self) -> Iterator[str]:
        """Yields the GGUF names."""
        yield from self.tensors


def gguf_name(name: str) -> str:
    """Translates a checkpoint name into GGUF's.

    Raises:
        KeyError: when no weight of a Llama has that name.
    """
    whole = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in whole:
        return whole[name]
    layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
    return f"blk.{layer}.{LAYER_TENSORS[part]}.weight"


def halves_from_pairs(values: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Reorders the rows of each head from GGUF's rotary pairs (2i, 2i + 1) to pairs (i, i + head_dim / 2)."""
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
