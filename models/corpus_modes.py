"""The ways to export a model: which inputs and outputs a graph has, and how the model is called with them.

Needs the extra `zoo`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from corpus_manifest import CorpusGraph, Tensor
from exporters import Export
from transformers import DynamicCache, EncoderDecoderCache

Tensors = dict[str, torch.Tensor]
FLOAT, INTEGER = "float32", "int64"


@dataclass(frozen=True)
class Shape:
    """What the graphs of one model have in common; see `CorpusGraph` for what each field means."""

    family: str
    layers: int
    hidden: int
    heads: int
    head_dim: int
    kv_heads: int
    vocabulary: int
    positions: int
    expert_layers: int = 0
    shared_experts: int = 0
    pad_token: int = 0
    window: int = 0
    windowed_layers: tuple[int, ...] = ()


def describe(
    shape: Shape, mode: str, inputs: list[Tensor], outputs: list[Tensor], *, attentions_per_layer: int = 1
) -> CorpusGraph:
    """Puts the facts of one graph together; file, exporter and opset come when it is written."""
    padded = any(tensor.name.endswith("attention_mask") for tensor in inputs)
    side = "left" if mode in ("plain", "kv") else "right"
    return CorpusGraph(
        file="",
        family=shape.family,
        exporter="",
        opset=0,
        mode=mode,
        layers=shape.layers,
        attention_blocks=attentions_per_layer * shape.layers,
        feed_forward_blocks=shape.layers - shape.expert_layers + shape.shared_experts,
        expert_blocks=shape.expert_layers,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        vocabulary=shape.vocabulary,
        positions=shape.positions,
        pad_token=shape.pad_token,
        window=shape.window,
        windowed_layers=shape.windowed_layers,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        padding=side if padded else "none",
    )


def tokens(name: str, length: str = "seq") -> Tensor:
    """An input of integers `[batch, length]`."""
    return Tensor(name, INTEGER, ("batch", length))


def states(shape: Shape, prefix: str, length: str, part: str = "") -> list[Tensor]:
    """The keys and values of a cache, as `past_key_values.0.key` or `present.0.decoder.key`."""
    dims = ("batch", shape.kv_heads, length, shape.head_dim)
    return [
        Tensor(f"{prefix}.{layer}.{part}{kind}", FLOAT, dims)
        for layer in range(shape.layers)
        for kind in ("key", "value")
    ]


def plain_decoder(model: torch.nn.Module, shape: Shape, *, positions: bool) -> Export:
    """A causal language model without a cache."""
    names = ["input_ids", "attention_mask", *["position_ids"] * positions]
    logits = Tensor("logits", FLOAT, ("batch", "seq", shape.vocabulary))
    return Export(describe(shape, "plain", [tokens(name) for name in names], [logits]), model, _plain_decoder)


def _plain_decoder(model: torch.nn.Module, inputs: Tensors) -> tuple[torch.Tensor, ...]:
    return (model(**inputs, use_cache=False).logits,)


def cached_decoder(model: torch.nn.Module, shape: Shape, *, positions: bool) -> Export:
    """A causal language model as a function of ids, mask, positions and the cache's tensors."""
    inputs = [tokens("input_ids"), tokens("attention_mask", "total"), *[tokens("position_ids")] * positions]
    inputs += states(shape, "past_key_values", "past")
    outputs = [Tensor("logits", FLOAT, ("batch", "seq", shape.vocabulary)), *states(shape, "present", "total")]
    return Export(describe(shape, "kv", inputs, outputs), model, _cached_decoder)


def _cached_decoder(model: torch.nn.Module, inputs: Tensors) -> tuple[torch.Tensor, ...]:
    past = [tensor for name, tensor in inputs.items() if name.startswith("past_key_values.")]
    named = {name: tensor for name, tensor in inputs.items() if not name.startswith("past_key_values.")}
    result = model(**named, past_key_values=DynamicCache(_pairs(past)), use_cache=True)
    return (result.logits, *_states_of(result.past_key_values))


def encoder(model: torch.nn.Module, shape: Shape, *, segments: bool, length: str = "seq") -> Export:
    """An encoder as a function of ids, mask and perhaps segment ids."""
    names = ["input_ids", "attention_mask", *["token_type_ids"] * segments]
    hidden = Tensor("last_hidden_state", FLOAT, ("batch", length, shape.hidden))
    return Export(
        describe(shape, "encoder", [tokens(name, length) for name in names], [hidden]), model, _last_hidden_state
    )


def _last_hidden_state(model: torch.nn.Module, inputs: Tensors) -> tuple[torch.Tensor, ...]:
    return (model(**inputs).last_hidden_state,)


def audio_encoder(model: torch.nn.Module, shape: Shape, *, mel_bins: int, frames: int) -> Export:
    """An encoder of a spectrogram of fixed length, two frames a token."""
    features = Tensor("input_features", FLOAT, ("batch", mel_bins, frames))
    hidden = Tensor("last_hidden_state", FLOAT, ("batch", frames // 2, shape.hidden))
    return Export(describe(shape, "encoder", [features], [hidden]), model, _last_hidden_state)


def image_encoder(model: torch.nn.Module, shape: Shape, *, image_size: int, tokens_out: int, hidden_out: int) -> Export:
    """An encoder of square pictures of three channels."""
    pixels = Tensor("pixel_values", FLOAT, ("batch", 3, image_size, image_size))
    hidden = Tensor("last_hidden_state", FLOAT, ("batch", tokens_out, hidden_out))
    return Export(describe(shape, "vision", [pixels], [hidden]), model, _last_hidden_state)


def text_and_image(
    model: torch.nn.Module, shape: Shape, *, image_size: int, pooling_attentions: int, mask: bool
) -> Export:
    """A text and an image encoder with the scores of each text for each image.

    Args:
        model: the model.
        shape: its facts; `layers` counts those of both encoders.
        image_size: pixels a side.
        pooling_attentions: further attentions, with a feed-forward part each, that pool the image.
        mask: whether the text is padded; otherwise all of it counts.
    """
    inputs = [tokens("input_ids"), Tensor("pixel_values", FLOAT, ("batch", 3, image_size, image_size))]
    inputs += [tokens("attention_mask")] * mask
    outputs = [
        *(Tensor(name, FLOAT, ("batch", "batch")) for name in ("logits_per_image", "logits_per_text")),
        *(Tensor(name, FLOAT, ("batch", shape.hidden)) for name in ("text_embeds", "image_embeds")),
    ]
    graph = describe(shape, "text-vision", inputs, outputs)
    graph = replace(
        graph,
        attention_blocks=graph.attention_blocks + pooling_attentions,
        feed_forward_blocks=graph.feed_forward_blocks + pooling_attentions,
    )
    return Export(graph, model, _text_and_image)


def _text_and_image(model: torch.nn.Module, inputs: Tensors) -> tuple[torch.Tensor, ...]:
    result = model(**inputs)
    return result.logits_per_image, result.logits_per_text, result.text_embeds, result.image_embeds


def cross_decoder(model: torch.nn.Module, shape: Shape, *, encoder_mask: bool) -> Export:
    """The decoder of an encoder-decoder on the first tokens: it computes the keys and values of both attentions."""
    inputs = [tokens("input_ids"), *[tokens("encoder_attention_mask", "enc_seq")] * encoder_mask]
    inputs.append(Tensor("encoder_hidden_states", FLOAT, ("batch", "enc_seq", shape.hidden)))
    outputs = [
        Tensor("logits", FLOAT, ("batch", "seq", shape.vocabulary)),
        *states(shape, "present", "seq", "decoder."),
        *states(shape, "present", "enc_seq", "encoder."),
    ]
    return Export(describe(shape, "decoder", inputs, outputs, attentions_per_layer=2), model, _cross_decoder)


def _cross_decoder(model: torch.nn.Module, inputs: Tensors) -> tuple[torch.Tensor, ...]:
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    result = model(
        decoder_input_ids=inputs["input_ids"],
        decoder_attention_mask=torch.ones_like(inputs["input_ids"]),
        encoder_outputs=(inputs["encoder_hidden_states"],),
        **_encoder_mask(inputs),
        past_key_values=cache,
        use_cache=True,
    )
    caches = result.past_key_values
    return (result.logits, *_states_of(caches.self_attention_cache), *_states_of(caches.cross_attention_cache))


def cross_decoder_with_past(model: torch.nn.Module, shape: Shape, *, encoder_mask: bool) -> Export:
    """The decoder of an encoder-decoder on later tokens: the encoder's keys and values are inputs."""
    inputs = [tokens("input_ids"), *[tokens("encoder_attention_mask", "enc_seq")] * encoder_mask]
    inputs += states(shape, "past_key_values", "past", "decoder.")
    inputs += states(shape, "past_key_values", "enc_seq", "encoder.")
    outputs = [
        Tensor("logits", FLOAT, ("batch", "seq", shape.vocabulary)),
        *states(shape, "present", "total", "decoder."),
    ]
    graph = describe(shape, "decoder_with_past", inputs, outputs, attentions_per_layer=2)
    return Export(graph, model, _cross_decoder_with_past)


def _cross_decoder_with_past(model: torch.nn.Module, inputs: Tensors) -> tuple[torch.Tensor, ...]:
    own = [tensor for name, tensor in inputs.items() if ".decoder." in name]
    crossed = [tensor for name, tensor in inputs.items() if ".encoder." in name]
    cache = EncoderDecoderCache(DynamicCache(_pairs(own)), DynamicCache(_pairs(crossed)))
    ids = inputs["input_ids"]
    # The model asks the encoder's states for their length alone.
    hidden = torch.zeros(ids.shape[0], crossed[0].shape[2], model.config.hidden_size)
    result = model(
        decoder_input_ids=ids,
        decoder_attention_mask=torch.ones(ids.shape[0], own[0].shape[2] + ids.shape[1], dtype=torch.int64),
        encoder_outputs=(hidden,),
        **_encoder_mask(inputs),
        past_key_values=cache,
        use_cache=True,
    )
    return (result.logits, *_states_of(result.past_key_values.self_attention_cache))


def _encoder_mask(inputs: Tensors) -> Tensors:
    return {"attention_mask": inputs["encoder_attention_mask"]} if "encoder_attention_mask" in inputs else {}


def _pairs(tensors: list[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(tensors[::2], tensors[1::2], strict=True))


def _states_of(cache: DynamicCache) -> list[torch.Tensor]:
    return [state for layer in cache.layers for state in (layer.keys, layer.values)]
