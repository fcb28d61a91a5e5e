"""The decoders of the corpus: tiny random models of each causal family, as transformers makes them.

Needs the extra `zoo`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers as hf
from corpus_modes import Shape, cached_decoder, plain_decoder
from corpus_weights import randomise
from exporters import Export

VOCABULARY, HIDDEN, LAYERS, HEADS, KV_HEADS, POSITIONS, INNER = 32, 32, 2, 4, 2, 64, 16
HEAD_DIM = HIDDEN // HEADS
WINDOW = 5
EXPERTS = 4
TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
WIDTHS = TOKENS | {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": POSITIONS,
}
LLAMA_LIKE = WIDTHS | {"num_key_value_heads": KV_HEADS, "intermediate_size": INNER}
HALF_ROTARY = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}


@dataclass(frozen=True)
class Decoder:
    """One family of causal language models.

    Attributes:
        make: builds the model.
        kv_heads: heads of keys and values.
        head_dim: elements of a head.
        positions: whether the model takes position ids.
        windowed_layers: the layers with a window of `WINDOW` tokens.
        expert_layers: layers whose feed-forward part chooses among experts.
        shared_experts: layers with a feed-forward part for all tokens beside the experts.
    """

    make: Callable[[], torch.nn.Module]
    kv_heads: int = KV_HEADS
    head_dim: int = HEAD_DIM
    positions: bool = True
    windowed_layers: tuple[int, ...] = ()
    expert_layers: int = 0
    shared_experts: int = 0


def exports_of(family: str) -> dict[str, Callable[[], Export]]:
    """How to make the exports of one family, by mode."""
    row = DECODERS[family]
    shape = Shape(
        family=family,
        layers=LAYERS,
        hidden=HIDDEN,
        heads=HEADS,
        head_dim=row.head_dim,
        kv_heads=row.kv_heads,
        vocabulary=VOCABULARY,
        positions=POSITIONS,
        expert_layers=row.expert_layers,
        shared_experts=row.shared_experts,
        window=WINDOW if row.windowed_layers else 0,
        windowed_layers=row.windowed_layers,
    )
    return {
        "kv": lambda: cached_decoder(randomise(row.make()), shape, positions=row.positions),
        "plain": lambda: plain_decoder(randomise(row.make()), shape, positions=row.positions),
    }


def gpt2() -> torch.nn.Module:
    """GPT-2: learned positions, one matrix for queries, keys and values."""
    return hf.GPT2LMHeadModel(
        hf.GPT2Config(**TOKENS, n_positions=POSITIONS, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, n_inner=INNER)
    )


def gptj() -> torch.nn.Module:
    """GPT-J: interleaved rotary embedding of half a head, attention and feed-forward part side by side."""
    config = hf.GPTJConfig(
        **TOKENS,
        n_positions=POSITIONS,
        n_embd=HIDDEN,
        n_layer=LAYERS,
        n_head=HEADS,
        n_inner=INNER,
        rotary_dim=HEAD_DIM // 2,
    )
    return hf.GPTJForCausalLM(config)


def gpt_neox() -> torch.nn.Module:
    """GPT-NeoX: rotary embedding of half a head, parallel residual."""
    return hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**WIDTHS, intermediate_size=INNER, rope_parameters=HALF_ROTARY))


def opt() -> torch.nn.Module:
    """OPT: learned positions with an offset of two, ReLU."""
    return hf.OPTForCausalLM(hf.OPTConfig(**WIDTHS, ffn_dim=INNER, word_embed_proj_dim=HIDDEN))


def bloom() -> torch.nn.Module:
    """BLOOM: ALiBi in place of positions; its feed-forward part is always four times as wide."""
    return hf.BloomForCausalLM(hf.BloomConfig(**TOKENS, hidden_size=HIDDEN, n_layer=LAYERS, n_head=HEADS))


def falcon() -> torch.nn.Module:
    """Falcon: one key head for all query heads."""
    return hf.FalconForCausalLM(hf.FalconConfig(**WIDTHS, ffn_hidden_size=INNER, multi_query=True))


def gemma2() -> torch.nn.Module:
    """Gemma 2: soft-capped scores, every other layer windowed."""
    config = hf.Gemma2Config(
        **LLAMA_LIKE,
        head_dim=HEAD_DIM,
        sliding_window=WINDOW,
        query_pre_attn_scalar=HEAD_DIM,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=3.0,
    )
    config._attn_implementation = "eager"  # the only one that soft-caps
    return hf.Gemma2ForCausalLM(config)


def gemma3() -> torch.nn.Module:
    """Gemma 3: normalised queries and keys, a window in the first layer, two bases of rotary embedding."""
    config = hf.Gemma3TextConfig(
        **LLAMA_LIKE,
        head_dim=HEAD_DIM,
        sliding_window=WINDOW,
        query_pre_attn_scalar=HEAD_DIM,
        layer_types=["sliding_attention", "full_attention"],
    )
    return hf.Gemma3ForCausalLM(config)


def phi() -> torch.nn.Module:
    """Phi: parallel residual, biases, rotary embedding of half a head."""
    return hf.PhiForCausalLM(hf.PhiConfig(**LLAMA_LIKE, rope_parameters=HALF_ROTARY))


def stablelm() -> torch.nn.Module:
    """StableLM: layer norm, rotary embedding of half a head."""
    return hf.StableLmForCausalLM(hf.StableLmConfig(**LLAMA_LIKE, rope_parameters=HALF_ROTARY))


def granite() -> torch.nn.Module:
    """Granite: multipliers on embeddings, attention, residuals and logits."""
    config = hf.GraniteConfig(
        **LLAMA_LIKE,
        embedding_multiplier=1.5,
        attention_multiplier=0.25,
        residual_multiplier=0.75,
        logits_scaling=2.0,
    )
    return hf.GraniteForCausalLM(config)


def mixtral() -> torch.nn.Module:
    """Mixtral: each token takes two of four experts."""
    config = hf.MixtralConfig(
        **LLAMA_LIKE | {"intermediate_size": INNER // 2},
        num_local_experts=EXPERTS,
        num_experts_per_tok=2,
        sliding_window=None,
    )
    return _batched_experts(hf.MixtralForCausalLM(config))


def qwen_moe() -> torch.nn.Module:
    """Qwen3 with two of four experts a token, weights renormalised."""
    config = hf.Qwen3MoeConfig(
        **LLAMA_LIKE,
        head_dim=HEAD_DIM,
        moe_intermediate_size=INNER // 2,
        num_experts=EXPERTS,
        num_experts_per_tok=2,
        norm_topk_prob=True,
    )
    return _batched_experts(hf.Qwen3MoeForCausalLM(config))


def qwen2_moe() -> torch.nn.Module:
    """Qwen2 with two of four experts a token, beside one that all tokens take."""
    config = hf.Qwen2MoeConfig(
        **LLAMA_LIKE,
        moe_intermediate_size=INNER // 2,
        shared_expert_intermediate_size=INNER,
        num_experts=EXPERTS,
        num_experts_per_tok=2,
    )
    return _batched_experts(hf.Qwen2MoeForCausalLM(config))


def _batched_experts(model: torch.nn.Module) -> torch.nn.Module:
    """Gathers the chosen experts' weights, which is what can be exported without a loop."""
    model.set_experts_implementation("batched_mm")
    return model


DECODERS = {
    "gpt2": Decoder(gpt2, kv_heads=HEADS),
    "gptj": Decoder(gptj, kv_heads=HEADS),
    "gpt-neox": Decoder(gpt_neox, kv_heads=HEADS),
    "opt": Decoder(opt, kv_heads=HEADS),
    "bloom": Decoder(bloom, kv_heads=HEADS, positions=False),
    "falcon": Decoder(falcon, kv_heads=1),
    "llama": Decoder(lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA_LIKE))),
    "mistral": Decoder(
        lambda: hf.MistralForCausalLM(hf.MistralConfig(**LLAMA_LIKE, sliding_window=WINDOW)),
        windowed_layers=tuple(range(LAYERS)),
    ),
    "qwen2": Decoder(lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**LLAMA_LIKE))),
    "qwen3": Decoder(lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**LLAMA_LIKE, head_dim=16)), head_dim=16),
    "gemma2": Decoder(gemma2, windowed_layers=(0,)),
    "gemma3": Decoder(gemma3, windowed_layers=(0,)),
    "phi": Decoder(phi),
    "phi3": Decoder(lambda: hf.Phi3ForCausalLM(hf.Phi3Config(**LLAMA_LIKE))),
    "stablelm": Decoder(stablelm),
    "olmo": Decoder(lambda: hf.OlmoForCausalLM(hf.OlmoConfig(**LLAMA_LIKE))),
    "granite": Decoder(granite),
    "mixtral": Decoder(mixtral, expert_layers=LAYERS),
    "qwen2-moe": Decoder(qwen2_moe, expert_layers=LAYERS, shared_experts=LAYERS),
    "qwen-moe": Decoder(qwen_moe, expert_layers=LAYERS),
}
