"""The image encoders of the corpus, alone and beside a text encoder: tiny random models of each family.

Needs the extra `zoo`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers as hf
from corpus_modes import Shape, image_encoder, text_and_image
from corpus_weights import randomise
from exporters import Export

VOCABULARY, HIDDEN, LAYERS, HEADS, POSITIONS, INNER = 32, 32, 2, 4, 64, 32
IMAGE_SIZE, PATCH_SIZE = 16, 4
PAIR_LAYERS, PAIR_INNER = 1, 16
"""Two encoders in one graph have one layer each, to keep the file small."""
PATCHES = (IMAGE_SIZE // PATCH_SIZE) ** 2
PLAIN = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "image_size": IMAGE_SIZE,
    "patch_size": PATCH_SIZE,
}
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": PAIR_LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": PAIR_INNER,
    "max_position_embeddings": POSITIONS,
    "bos_token_id": 1,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "projection_dim": HIDDEN,
}
IMAGE = PLAIN | {"num_hidden_layers": PAIR_LAYERS, "intermediate_size": PAIR_INNER}
SWIN_WIDTH, SWIN_IMAGE_SIZE = 8, 16


@dataclass(frozen=True)
class ImageEncoder:
    """One family of image encoders.

    Attributes:
        make: builds the model.
        tokens: tokens that it gives: the patches and what stands before them.
        hidden: width of the last layer.
        image_size: pixels a side.
        layers: layers of all stages.
    """

    make: Callable[[], torch.nn.Module]
    tokens: int = PATCHES + 1
    hidden: int = HIDDEN
    image_size: int = IMAGE_SIZE
    layers: int = LAYERS


def exports_of(family: str) -> dict[str, Callable[[], Export]]:
    """How to make the exports of one family, by mode."""
    if family in PAIRS:
        make, attentions = PAIRS[family]
        shape = _shape(family, layers=2 * PAIR_LAYERS, vocabulary=VOCABULARY)
        return {
            "text-vision": lambda: text_and_image(
                randomise(make()), shape, image_size=IMAGE_SIZE, pooling_attentions=attentions, mask=family == "clip"
            )
        }
    row = IMAGE_ENCODERS[family]
    return {
        "vision": lambda: image_encoder(
            randomise(row.make()),
            _shape(family, layers=row.layers, vocabulary=0),
            image_size=row.image_size,
            tokens_out=row.tokens,
            hidden_out=row.hidden,
        )
    }


def _shape(family: str, layers: int, vocabulary: int) -> Shape:
    return Shape(
        family=family,
        layers=layers,
        hidden=HIDDEN,
        heads=HEADS,
        head_dim=HIDDEN // HEADS,
        kv_heads=HEADS,
        vocabulary=vocabulary,
        positions=POSITIONS if vocabulary else 0,
    )


def swin() -> torch.nn.Module:
    """Swin: windows of four patches, shifted in the second layer of the first stage, halved resolution after it."""
    config = hf.SwinConfig(
        image_size=SWIN_IMAGE_SIZE,
        patch_size=2,
        embed_dim=SWIN_WIDTH,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=2,
        mlp_ratio=2.0,
    )
    return hf.SwinModel(config, add_pooling_layer=False)


def dinov2() -> torch.nn.Module:
    """DINOv2: scales on the residuals, positions resized from the image they were trained on."""
    return hf.Dinov2Model(hf.Dinov2Config(**PLAIN, mlp_ratio=1))


def clip() -> torch.nn.Module:
    """CLIP: a causal text encoder and an image encoder, compared by cosine."""
    config = hf.CLIPConfig(
        text_config=TEXT,
        vision_config=IMAGE | {"projection_dim": HIDDEN},
        projection_dim=HIDDEN,
    )
    return hf.CLIPModel(config)


def siglip() -> torch.nn.Module:
    """SigLIP: as CLIP, the text is seen in both directions and the image pooled by an attention of its own."""
    text = {key: value for key, value in TEXT.items() if key != "projection_dim"} | {"projection_size": HIDDEN}
    config = hf.SiglipConfig(text_config=text, vision_config=IMAGE)
    return hf.SiglipModel(config)


IMAGE_ENCODERS = {
    "vit": ImageEncoder(lambda: hf.ViTModel(hf.ViTConfig(**PLAIN, intermediate_size=INNER), add_pooling_layer=False)),
    "deit": ImageEncoder(
        lambda: hf.DeiTModel(hf.DeiTConfig(**PLAIN, intermediate_size=INNER), add_pooling_layer=False),
        tokens=PATCHES + 2,
    ),
    "swin": ImageEncoder(swin, tokens=16, hidden=2 * SWIN_WIDTH, image_size=SWIN_IMAGE_SIZE, layers=4),
    "dinov2": ImageEncoder(dinov2),
}
PAIRS = {"clip": (clip, 0), "siglip": (siglip, 1)}
