"""The encoder-decoders of the corpus: tiny random models of each family, as folders of three graphs.

Needs the extra `zoo`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers as hf
from corpus_modes import Shape, audio_encoder, cross_decoder, cross_decoder_with_past, encoder
from corpus_weights import randomise
from exporters import Export

VOCABULARY, HIDDEN, LAYERS, HEADS, POSITIONS, INNER = 32, 32, 2, 4, 48, 16
MEL_BINS, FRAMES = 16, 40
TOKENS = {
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
WIDTHS = TOKENS | {
    "d_model": HIDDEN,
    "encoder_layers": LAYERS,
    "decoder_layers": LAYERS,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": INNER,
    "decoder_ffn_dim": INNER,
}
BART_LIKE = WIDTHS | {"max_position_embeddings": POSITIONS, "forced_eos_token_id": None}


@dataclass(frozen=True)
class EncoderDecoder:
    """One family of encoder-decoders.

    Attributes:
        make: builds the model.
        positions: longest sequence.
        audio: whether the encoder reads a spectrogram in place of tokens.
    """

    make: Callable[[], torch.nn.Module]
    positions: int = POSITIONS
    audio: bool = False


def exports_of(family: str) -> dict[str, Callable[[], Export]]:
    """How to make the exports of one family, by mode."""
    row = ENCODER_DECODERS[family]
    shape = Shape(
        family=family,
        layers=LAYERS,
        hidden=HIDDEN,
        heads=HEADS,
        head_dim=HIDDEN // HEADS,
        kv_heads=HEADS,
        vocabulary=VOCABULARY,
        positions=row.positions,
    )
    return {
        "encoder": lambda: _encoder(randomise(row.make()), shape, audio=row.audio),
        "decoder": lambda: cross_decoder(randomise(row.make()), shape, encoder_mask=not row.audio),
        "decoder_with_past": lambda: cross_decoder_with_past(randomise(row.make()), shape, encoder_mask=not row.audio),
    }


def _encoder(model: torch.nn.Module, shape: Shape, *, audio: bool) -> Export:
    if audio:
        return audio_encoder(model.get_encoder(), shape, mel_bins=MEL_BINS, frames=FRAMES)
    return encoder(model.get_encoder(), shape, segments=False, length="enc_seq")


def t5() -> torch.nn.Module:
    """T5: relative position bias of the first layer for all, no scale on scores, RMS norm, gated GELU."""
    config = hf.T5Config(
        **TOKENS,
        d_model=HIDDEN,
        d_kv=HIDDEN // HEADS,
        d_ff=INNER,
        num_layers=LAYERS,
        num_decoder_layers=LAYERS,
        num_heads=HEADS,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        feed_forward_proj="gated-gelu",
    )
    return hf.T5ForConditionalGeneration(config)


def bart() -> torch.nn.Module:
    """BART: learned positions with an offset of two, norms behind the residuals."""
    return hf.BartForConditionalGeneration(hf.BartConfig(**BART_LIKE, activation_function="gelu"))


def marian() -> torch.nn.Module:
    """Marian: sinusoidal positions, Swish, a bias on the logits."""
    config = hf.MarianConfig(**BART_LIKE, activation_function="swish", scale_embedding=True)
    return hf.MarianMTModel(config)


def whisper() -> torch.nn.Module:
    """Whisper: two convolutions before the encoder, learned positions in the decoder."""
    config = hf.WhisperConfig(
        **WIDTHS,
        num_mel_bins=MEL_BINS,
        max_source_positions=FRAMES // 2,
        max_target_positions=POSITIONS,
        begin_suppress_tokens=None,
    )
    return hf.WhisperForConditionalGeneration(config)


ENCODER_DECODERS = {
    "t5": EncoderDecoder(t5, positions=0),
    "bart": EncoderDecoder(bart),
    "marian": EncoderDecoder(marian),
    "whisper": EncoderDecoder(whisper, audio=True),
}
