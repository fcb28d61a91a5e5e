"""Random checkpoints as a trained model would come: names and layouts of Hugging Face, built from shapes alone."""

from __future__ import annotations

import numpy as np


def llama_checkpoint(config) -> dict[str, np.ndarray]:
    shapes = {
        "model.embed_tokens.weight": (config.vocabulary, config.hidden),
        "model.norm.weight": (config.hidden,),
    }
    if not config.tied:
        shapes["lm_head.weight"] = (config.vocabulary, config.hidden)
    for layer in range(config.layers):
        name = f"model.layers.{layer}"
        shapes |= {
            f"{name}.input_layernorm.weight": (config.hidden,),
            f"{name}.self_attn.q_proj.weight": (config.heads * config.head_dim, config.hidden),
            f"{name}.self_attn.k_proj.weight": (config.kv_heads * config.head_dim, config.hidden),
            f"{name}.self_attn.v_proj.weight": (config.kv_heads * config.head_dim, config.hidden),
            f"{name}.self_attn.o_proj.weight": (config.hidden, config.heads * config.head_dim),
            f"{name}.post_attention_layernorm.weight": (config.hidden,),
            f"{name}.mlp.gate_proj.weight": (config.intermediate, config.hidden),
            f"{name}.mlp.up_proj.weight": (config.intermediate, config.hidden),
            f"{name}.mlp.down_proj.weight": (config.hidden, config.intermediate),
        }
    return _fill(shapes)


def gpt2_checkpoint(config) -> dict[str, np.ndarray]:
    width = config.hidden
    shapes = {"transformer.wte.weight": (config.vocabulary, width), "transformer.wpe.weight": (config.positions, width)}
    if not config.tied:
        shapes["lm_head.weight"] = (config.vocabulary, width)
    shapes |= _pair("transformer.ln_f", (width,))
    for layer in range(config.layers):
        name = f"transformer.h.{layer}"
        shapes |= _pair(f"{name}.ln_1", (width,)) | _pair(f"{name}.ln_2", (width,))
        shapes |= _pair(f"{name}.attn.c_attn", (width, 3 * width)) | _pair(f"{name}.attn.c_proj", (width, width))
        inner = config.intermediate or 4 * width
        shapes |= _pair(f"{name}.mlp.c_fc", (width, inner)) | _pair(f"{name}.mlp.c_proj", (inner, width))
    return _fill(shapes)


def opt_checkpoint(config) -> dict[str, np.ndarray]:
    width, inner, base = config.hidden, config.intermediate or 4 * config.hidden, "model.decoder"
    shapes = {
        f"{base}.embed_tokens.weight": (config.vocabulary, width),
        f"{base}.embed_positions.weight": (config.positions + 2, width),
    }
    shapes |= _pair(f"{base}.final_layer_norm", (width,))
    for layer in range(config.layers):
        name = f"{base}.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _pair(f"{name}.self_attn.{part}", (width, width))
        shapes |= {f"{name}.fc1.weight": (inner, width), f"{name}.fc1.bias": (inner,)}
        shapes |= {f"{name}.fc2.weight": (width, inner), f"{name}.fc2.bias": (width,)}
        shapes |= _pair(f"{name}.self_attn_layer_norm", (width,)) | _pair(f"{name}.final_layer_norm", (width,))
    return _fill(shapes)


def bert_checkpoint(config) -> dict[str, np.ndarray]:
    width, inner = config.hidden, config.intermediate
    counts = {"word": config.vocabulary, "token_type": config.segments, "position": config.positions}
    shapes = {f"embeddings.{kind}_embeddings.weight": (count, width) for kind, count in counts.items()}
    shapes |= _pair("embeddings.LayerNorm", (width,))
    for layer in range(config.layers):
        name = f"encoder.layer.{layer}"
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= _pair(f"{name}.{part}", (width, width))
        shapes |= {f"{name}.intermediate.dense.weight": (inner, width), f"{name}.intermediate.dense.bias": (inner,)}
        shapes |= {f"{name}.output.dense.weight": (width, inner), f"{name}.output.dense.bias": (width,)}
        shapes |= _pair(f"{name}.attention.output.LayerNorm", (width,)) | _pair(f"{name}.output.LayerNorm", (width,))
    return _fill(shapes)


def _pair(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[-1:]}


def _fill(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Matrices of deviation 0.2 and vectors around 1 or 0, so that nothing vanishes."""
    rng = np.random.default_rng(7)
    tensors = {}
    for name, shape in shapes.items():
        noise = rng.standard_normal(shape)
        is_scale = len(shape) == 1 and name.endswith("weight")
        tensors[name] = (1 + 0.2 * noise if is_scale else 0.2 * noise).astype(np.float32)
    return tensors
