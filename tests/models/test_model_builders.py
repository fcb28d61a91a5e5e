"""The built graphs compute what plain numpy does, in both spellings, at every kind of length."""

from __future__ import annotations

import numpy as np
import numpy_transformers as reference
import onnx
import onnxruntime
import pytest
from bert import BertConfig, build_bert
from checkpoints import bert_checkpoint, gpt2_checkpoint, llama_checkpoint, opt_checkpoint
from gpt2 import Gpt2Config, build_gpt2
from llama import LlamaConfig, build_llama
from model_weights import GivenWeights, RandomWeights
from numpy_transformers import Call
from opt import OptConfig, build_opt

SPELLINGS = ("dynamo", "torchscript")
OPSETS = {"dynamo": 20, "torchscript": 17}
NARROW = {"vocabulary": 50, "hidden": 24, "layers": 2, "heads": 4}
LLAMA = LlamaConfig(**NARROW, kv_heads=2, head_dim=6, intermediate=40, rope_theta=500.0)
GPT2 = Gpt2Config(**NARROW, positions=32)
BERT = BertConfig(**NARROW, positions=32, intermediate=40)


def session_of(built) -> onnxruntime.InferenceSession:
    model = built.to_proto()
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def make_call(config, kv_heads: int, past: int, length: int, padded: int = 0) -> Call:
    """Two sequences; the second begins with `padded` padding tokens, as a padded batch does."""
    rng = np.random.default_rng(past + 100 * length)
    total = past + length
    padding = np.ones((2, total), np.int64)
    padding[1, :padded] = 0
    positions = np.stack([np.arange(past, total), np.maximum(np.arange(past, total) - padded, 0)])
    shape = (2, kv_heads, past, config.head_dim)
    states = [rng.standard_normal(shape).astype(np.float32) for _ in range(2 * config.layers)]
    pairs = list(zip(states[::2], states[1::2], strict=True)) if config.cache else []
    return Call(rng.integers(0, config.vocabulary, (2, length)), padding, positions, pairs)


def run(session: onnxruntime.InferenceSession, call: Call) -> list[np.ndarray]:
    feeds = {"input_ids": call.ids, "attention_mask": call.padding, "position_ids": call.positions}
    for layer, (key, value) in enumerate(call.past):
        feeds |= {f"past_key_values.{layer}.key": key, f"past_key_values.{layer}.value": value}
    return session.run(None, feeds)


def assert_same(actual: list[np.ndarray], expected: list[np.ndarray], call: Call) -> None:
    """Compares all outputs, the logits at the tokens that are no padding."""
    length = call.ids.shape[1]
    real = call.padding[:, -length:] != 0
    np.testing.assert_allclose(actual[0][real], expected[0][real], rtol=1e-5, atol=1e-5)
    assert len(actual) == len(expected)
    # Keys and values of padding tokens lie behind layers whose padded rows are arbitrary.
    kept = call.padding != 0
    for left, right in zip(actual[1:], expected[1:], strict=True):
        np.testing.assert_allclose(left.swapaxes(1, 2)[kept], right.swapaxes(1, 2)[kept], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [None, 1, 3, 8, 100])
@pytest.mark.parametrize("tied", [False, True])
def test_llama_equals_numpy_in_both_spellings(window: int | None, tied: bool) -> None:
    config = LlamaConfig(**NARROW, kv_heads=2, head_dim=6, intermediate=40, rope_theta=500.0, window=window, tied=tied)
    weights = llama_checkpoint(config)
    sessions = [session_of(build_llama(config, GivenWeights(weights), spelling)) for spelling in SPELLINGS]
    for past, length, padded in (
        (0, 1, 0),
        (0, 5, 0),
        (1, 1, 0),
        (1, 3, 0),
        (7, 1, 0),
        (7, 4, 0),
        (7, 2, 3),
        (0, 6, 2),
    ):
        call = make_call(config, 2, past, length, padded)
        logits, present = reference.llama(config, weights, call)
        for session in sessions:
            assert_same(run(session, call), [logits, *present], call)


@pytest.mark.parametrize("kv_heads", [1, 4])
def test_llama_shares_keys_between_any_number_of_heads(kv_heads: int) -> None:
    config = LlamaConfig(**NARROW, kv_heads=kv_heads, head_dim=8, intermediate=40)
    weights = llama_checkpoint(config)
    call = make_call(config, kv_heads, 3, 2)
    logits, present = reference.llama(config, weights, call)
    for spelling in SPELLINGS:
        assert_same(
            run(session_of(build_llama(config, GivenWeights(weights), spelling)), call), [logits, *present], call
        )


@pytest.mark.parametrize("tied", [False, True])
def test_gpt2_equals_numpy_in_both_spellings(tied: bool) -> None:
    config = Gpt2Config(**NARROW, positions=32, tied=tied, intermediate=40)
    weights = gpt2_checkpoint(config)
    sessions = [session_of(build_gpt2(config, GivenWeights(weights), spelling)) for spelling in SPELLINGS]
    for past, length, padded in ((0, 1, 0), (0, 5, 0), (1, 1, 0), (7, 1, 0), (7, 4, 0), (7, 2, 3)):
        call = make_call(config, 4, past, length, padded)
        logits, present = reference.gpt2(config, weights, call)
        for session in sessions:
            assert_same(run(session, call), [logits, *present], call)


def test_opt_equals_numpy_in_both_spellings() -> None:
    config = OptConfig(**NARROW, positions=32, intermediate=40)
    weights = opt_checkpoint(config)
    sessions = [session_of(build_opt(config, GivenWeights(weights), spelling)) for spelling in SPELLINGS]
    for past, length, padded in ((0, 1, 0), (0, 5, 0), (1, 1, 0), (7, 4, 0), (7, 2, 3)):
        call = make_call(config, 4, past, length, padded)
        logits, present = reference.opt(config, weights, call)
        for session in sessions:
            assert_same(run(session, call), [logits, *present], call)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_models_without_cache_equal_numpy(spelling: str) -> None:
    llama_config = LlamaConfig(**NARROW, kv_heads=2, head_dim=6, intermediate=40, window=3, cache=False)
    gpt2_config = Gpt2Config(**NARROW, positions=32, cache=False)
    opt_config = OptConfig(**NARROW, positions=32, cache=False)
    cases = (
        (llama_config, build_llama, llama_checkpoint, reference.llama),
        (gpt2_config, build_gpt2, gpt2_checkpoint, reference.gpt2),
        (opt_config, build_opt, opt_checkpoint, reference.opt),
    )
    for config, build, checkpoint, expect in cases:
        weights = checkpoint(config)
        call = make_call(config, 2, 0, 6)
        logits, _ = expect(config, weights, call)
        assert_same(run(session_of(build(config, GivenWeights(weights), spelling)), call), [logits], call)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_bert_equals_numpy(spelling: str) -> None:
    weights = bert_checkpoint(BERT)
    session = session_of(build_bert(BERT, GivenWeights(weights), spelling))
    rng = np.random.default_rng(2)
    for length in (1, 2, 9):
        ids, segments = rng.integers(0, 50, (2, length)), rng.integers(0, 2, (2, length))
        padding = np.ones((2, length), np.int64)
        padding[1, (length + 1) // 2 :] = 0
        expected = reference.bert(BERT, weights, ids, padding, segments)
        feeds = {"input_ids": ids, "attention_mask": padding, "token_type_ids": segments}
        np.testing.assert_allclose(session.run(None, feeds)[0], expected, rtol=1e-5, atol=1e-5)


def test_pooled_bert_averages_real_tokens_to_unit_length() -> None:
    config = BertConfig(**NARROW, positions=32, intermediate=40, pooled=True)
    ids = np.arange(10).reshape(2, 5)
    padding = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    feeds = {"input_ids": ids, "attention_mask": padding, "token_type_ids": np.zeros_like(ids)}
    for spelling in SPELLINGS:
        hidden, pooled = session_of(build_bert(config, GivenWeights(bert_checkpoint(config)), spelling)).run(
            None, feeds
        )
        for row, count in enumerate((5, 3)):
            mean = hidden[row, :count].mean(axis=0)
            np.testing.assert_allclose(pooled[row], mean / np.linalg.norm(mean), rtol=1e-5, atol=1e-6)


def test_prefill_then_decode_equals_one_prefill() -> None:
    session = session_of(build_llama(LLAMA, RandomWeights(1)))
    whole = make_call(LLAMA, 2, 0, 6)
    expected = run(session, whole)
    first = Call(whole.ids[:, :4], whole.padding[:, :4], whole.positions[:, :4], whole.past)
    _, *present = run(session, first)
    pairs = list(zip(present[::2], present[1::2], strict=True))
    second = Call(whole.ids[:, 4:], whole.padding, whole.positions[:, 4:], pairs)
    for left, right in zip(run(session, second), [expected[0][:, 4:], *expected[1:]], strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_random_activations_keep_their_size_through_many_layers(spelling: str) -> None:
    config = LlamaConfig(vocabulary=50, hidden=32, layers=24, heads=4, kv_heads=2, head_dim=8, intermediate=64)
    logits = run(session_of(build_llama(config, RandomWeights(5), spelling)), make_call(config, 2, 0, 8))[0]
    assert 0.5 < logits.std() < 2


@pytest.mark.parametrize(
    ("spelling", "mask_key", "present_key"),
    [("dynamo", "total", "past + seq"), ("torchscript", "total", "total")],
)
def test_decoder_names_its_dimensions_like_the_exporter(spelling: str, mask_key: str, present_key: str) -> None:
    model = build_llama(LLAMA, RandomWeights(), spelling, {"source": "test"}).to_proto()
    dims = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert dims == {
        "input_ids": ["batch", "seq"],
        "attention_mask": ["batch", mask_key],
        "position_ids": ["batch", "seq"],
        "past_key_values.0.key": ["batch", 2, "past", 6],
        "past_key_values.0.value": ["batch", 2, "past", 6],
        "past_key_values.1.key": ["batch", 2, "past", 6],
        "past_key_values.1.value": ["batch", 2, "past", 6],
        "logits": ["batch", "seq", 50],
        "present.0.key": ["batch", 2, present_key, 6],
        "present.0.value": ["batch", 2, present_key, 6],
        "present.1.key": ["batch", 2, present_key, 6],
        "present.1.value": ["batch", 2, present_key, 6],
    }
    assert model.opset_import[0].version == OPSETS[spelling]
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("source", "test")]


def test_nodes_are_named_by_their_place_in_the_model() -> None:
    names = [node.name for node in build_llama(LLAMA, RandomWeights()).skeleton.graph.node]
    assert "/model/layers.1/self_attn/q_proj/MatMul" in names
    assert len(set(names)) == len(names)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^3 key heads do not divide 4 query heads$"):
        LlamaConfig(kv_heads=3)
    with pytest.raises(ValueError, match=r"^rotary positions need an even head size, not 15$"):
        LlamaConfig(head_dim=15)
    with pytest.raises(ValueError, match=r"^5 heads do not divide the width 64$"):
        Gpt2Config(heads=5)
    with pytest.raises(ValueError, match=r"^unknown spelling 'jax': choose from dynamo, torchscript$"):
        build_gpt2(GPT2, RandomWeights(), "jax")
