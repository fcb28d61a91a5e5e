"""The text encoders of the corpus: tiny random models of each family, as transformers makes them.

Needs the extra `zoo`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers as hf
from corpus_modes import Shape, encoder
from corpus_weights import randomise
from exporters import Export

VOCABULARY, HIDDEN, LAYERS, HEADS, POSITIONS, INNER = 32, 32, 2, 4, 64, 64
DISTANCES = 48
"""DeBERTa tells distances up to this apart; longer texts it cannot read."""
REACH = 3
"""ModernBERT's local attention sees so many tokens on each side."""
PLAIN = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "max_position_embeddings": POSITIONS,
    "pad_token_id": 0,
}


@dataclass(frozen=True)
class Encoder:
    """One family of text encoders.

    Attributes:
        make: builds the model.
        segments: whether the model takes segment ids.
        pad_token: the id of padding, by which some families count positions.
        positions: longest sequence.
        windowed_layers: the layers that see `REACH` tokens on each side.
    """

    make: Callable[[], torch.nn.Module]
    segments: bool = False
    pad_token: int = 0
    positions: int = POSITIONS
    windowed_layers: tuple[int, ...] = ()


def exports_of(family: str) -> dict[str, Callable[[], Export]]:
    """How to make the exports of one family, by mode."""
    row = ENCODERS[family]
    shape = Shape(
        family=family,
        layers=LAYERS,
        hidden=HIDDEN,
        heads=HEADS,
        head_dim=HIDDEN // HEADS,
        kv_heads=HEADS,
        vocabulary=VOCABULARY,
        positions=row.positions,
        pad_token=row.pad_token,
        window=REACH if row.windowed_layers else 0,
        windowed_layers=row.windowed_layers,
    )
    return {"encoder": lambda: encoder(randomise(row.make()), shape, segments=row.segments)}


def distilbert() -> torch.nn.Module:
    """DistilBERT: BERT without segments."""
    config = hf.DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=HIDDEN,
        n_layers=LAYERS,
        n_heads=HEADS,
        hidden_dim=INNER,
        max_position_embeddings=POSITIONS,
        pad_token_id=0,
    )
    return hf.DistilBertModel(config)


def albert() -> torch.nn.Module:
    """ALBERT: all layers share their weights, the embedding is narrower than the model."""
    return hf.AlbertModel(hf.AlbertConfig(**PLAIN, embedding_size=16), add_pooling_layer=False)


def electra() -> torch.nn.Module:
    """ELECTRA: BERT behind a projected embedding."""
    return hf.ElectraModel(hf.ElectraConfig(**PLAIN, embedding_size=16))


def mpnet() -> torch.nn.Module:
    """MPNet: positions counted from the padding id, relative position bias shared by the layers."""
    config = hf.MPNetConfig(**PLAIN | {"pad_token_id": 1})
    return hf.MPNetModel(config, add_pooling_layer=False)


def deberta() -> torch.nn.Module:
    """DeBERTa: attention of content to position and back, by gathered distances."""
    config = hf.DebertaConfig(
        **PLAIN,
        relative_attention=True,
        max_relative_positions=DISTANCES,
        pos_att_type=["c2p", "p2c"],
        position_biased_input=False,
        type_vocab_size=0,
    )
    return hf.DebertaModel(config)


def deberta_v2() -> torch.nn.Module:
    """DeBERTa as of version 3: logarithmic buckets, keys shared with the positions, normalised distances."""
    config = hf.DebertaV2Config(
        **PLAIN,
        relative_attention=True,
        position_buckets=8,
        max_relative_positions=-1,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
    )
    return hf.DebertaV2Model(config)


def modernbert() -> torch.nn.Module:
    """ModernBERT: rotary embedding, gated feed-forward part, local attention in all layers but the first."""
    config = hf.ModernBertConfig(
        **PLAIN | {"intermediate_size": INNER // 2},
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
        local_attention=2 * REACH,
        global_attn_every_n_layers=2,
        reference_compile=False,
    )
    return hf.ModernBertModel(config)


ENCODERS = {
    "bert": Encoder(lambda: hf.BertModel(hf.BertConfig(**PLAIN), add_pooling_layer=False), segments=True),
    "roberta": Encoder(
        lambda: hf.RobertaModel(
            hf.RobertaConfig(**PLAIN | {"pad_token_id": 1, "max_position_embeddings": POSITIONS + 2}),
            add_pooling_layer=False,
        ),
        pad_token=1,
    ),
    "distilbert": Encoder(distilbert),
    "albert": Encoder(albert, segments=True),
    "electra": Encoder(electra, segments=True),
    "mpnet": Encoder(mpnet, pad_token=1, positions=POSITIONS - 2),
    "deberta": Encoder(deberta, positions=DISTANCES),
    "deberta-v2": Encoder(deberta_v2),
    "modernbert": Encoder(modernbert, windowed_layers=(1,)),
}
