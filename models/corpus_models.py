"""The tiny random models of the corpus, as transformers makes them. Needs the extra `train`."""

from __future__ import annotations

import torch
from exporters import Export, decoder_export, encoder_export
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

VOCABULARY, HIDDEN, LAYERS, HEADS, KV_HEADS, POSITIONS = 32, 32, 2, 4, 2, 64
HEAD_DIM = HIDDEN // HEADS
SEED = 20


def gpt2() -> Export:
    """Describes a GPT-2 whose feed-forward part is twice as wide as the model."""
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=POSITIONS,
        n_embd=HIDDEN,
        n_layer=LAYERS,
        n_head=HEADS,
        n_inner=2 * HIDDEN,
        bos_token_id=0,
        eos_token_id=0,
    )
    return decoder_export(randomise(GPT2LMHeadModel(config)), LAYERS, HEADS, HEAD_DIM)


def llama() -> Export:
    """Describes a Llama with two query heads to each key head."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=POSITIONS,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        intermediate_size=16,
        bos_token_id=0,
        eos_token_id=0,
    )
    return decoder_export(randomise(LlamaForCausalLM(config)), LAYERS, KV_HEADS, HEAD_DIM)


def bert() -> Export:
    """Describes a BERT without pooler."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=POSITIONS,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=2 * HIDDEN,
    )
    return encoder_export(randomise(BertModel(config, add_pooling_layer=False)))


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Replaces the near-constant initial weights, so that no error hides behind a bias of 0 or a scale of 1."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_scale = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(1 + 0.1 * noise if is_scale else 0.2 * noise)
    return model


FAMILIES = {"gpt2": gpt2, "llama": llama, "bert": bert}
