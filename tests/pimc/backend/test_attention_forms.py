"""Attention in every spelling, with ragged masks, over its own tokens or those of another sequence."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from attention_models import Attention, attention
from model_maker import FLOAT, INTEGER, ModelMaker, check

FORMS = {
    "plain": Attention(),
    "scaled query": Attention(scaled="query"),
    "quotient": Attention(scaled="quotient"),
    "grouped heads": Attention(heads=4, kv_heads=2),
    "one key head": Attention(heads=3, kv_heads=1, head_dim=8),
    "soft cap": Attention(cap=2.0),
    "bias": Attention(bias=True),
    "bias and cap": Attention(heads=4, kv_heads=1, cap=1.5, bias=True, scaled="query"),
    "wide heads": Attention(head_dim=20),
}
WIDTH = 12


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("causal", [False, True], ids=["all keys", "causal"])
@pytest.mark.parametrize("sequences", [1, 2])
def test_self_attention_with_a_ragged_mask(form: Attention, causal: bool, sequences: int) -> None:
    m = ModelMaker()
    x = m.input("x", sequences, "seq", WIDTH)
    mask = m.input("attention_mask", sequences, "seq", kind=INTEGER)
    spelled = Attention(**{**vars(form), "causal": causal})
    output = m.op("Add", x, attention(m, spelled, x, x, WIDTH, mask))
    check(m.model([output]), [{"seq": 5}, {"seq": 1}, {"seq": 19}])


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("sequences", [1, 2])
def test_cross_attention_over_keys_of_another_length(form: Attention, sequences: int) -> None:
    m = ModelMaker()
    x, memory = m.input("x", sequences, "seq", WIDTH), m.input("memory", sequences, "source", WIDTH)
    mask = m.input("memory_mask", sequences, "source", kind=INTEGER)
    output = m.op("Add", x, attention(m, form, x, memory, WIDTH, mask))
    check(m.model([output]), [{"seq": 5, "source": 3}, {"seq": 1, "source": 17}, {"seq": 6, "source": 1}])


def test_one_program_attends_to_itself_and_to_another_sequence() -> None:
    m = ModelMaker()
    x, memory = m.input("x", 2, "seq", WIDTH), m.input("memory", 2, "source", WIDTH)
    mask = m.input("memory_mask", 2, "source", kind=INTEGER)
    own = m.op("Add", x, attention(m, Attention(causal=True), x, x, WIDTH))
    output = m.op("Add", own, attention(m, Attention(heads=4, kv_heads=2), own, memory, WIDTH, mask))
    check(m.model([output]), [{"seq": 4, "source": 9}, {"seq": 1, "source": 1}, {"seq": 17, "source": 2}])


@pytest.mark.parametrize("sequences", [1, 2])
def test_a_mask_of_keys_also_weighs_the_tokens(sequences: int) -> None:
    m = ModelMaker()
    x = m.input("x", sequences, "seq", WIDTH)
    mask = m.input("attention_mask", sequences, "seq", kind=INTEGER)
    y = m.op("Add", x, attention(m, Attention(causal=True), x, x, WIDTH, mask))
    column = m.op("Unsqueeze", m.op("Cast", mask, to=FLOAT), m.constant(np.array([2])))
    check(m.model([m.op("Mul", y, column)]), [{"seq": 5}, {"seq": 1}, {"seq": 19}])
