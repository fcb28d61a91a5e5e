"""The pipelines on whole models: real exports of both exporters, and built models in both spellings."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests_graphs import Array, operations

from passes import Graph, PassManager, explain, interpret, pipeline
from passes.dims import evaluate
from pimc.frontend import import_model

ROOT = Path(__file__).parent.parent.parent
CORPUS = sorted((ROOT / "models" / "corpus").glob("*.onnx"))
LEGAL = {
    *("gather", "add", "mul", "layer_norm", "rms_norm", "linear", "split", "rotary"),
    *("cached_attention", "feed_forward", "reshape", "cast", "cos", "sin", "range"),
}
"""What the backend meets after the pipeline for GPT-2, Llama and BERT."""

FUSED = {
    "bert": {"attention": 2, "linear": 12, "plain": 2, "transient": 2, "projections of one value": 2},
    "gpt2": {"attention": 2, "linear": 9, "plain": 2, "gelu_tanh": 2, "resident": 2},
    "llama": {
        "attention": 2, "linear": 15, "gated": 2, "silu": 2, "rms_norm": 5, "rotary": 4, "resident": 2,
        "projections of one value": 2,
    },
}  # fmt: skip
MASKS = {"bert": "full, key mask", "gpt2": "causal, key mask", "llama": "causal, key mask"}


@pytest.fixture(scope="module", autouse=True)
def _model_builders() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "models"))
        yield


def fused(path: Path, name: str = "default", **dims: int) -> Graph:
    graph = import_model(path, dims)
    PassManager(pipeline(name), check_claims=True).run(graph)
    return graph


def inputs_of(graph: Graph, past: int, seq: int, padded: int) -> dict[str, Array]:
    """Random inputs; the first `padded` keys of the last sequence are masked."""
    generator = np.random.default_rng(7)
    inputs: dict[str, Array] = {}
    for value in graph.inputs:
        shape = tuple(evaluate(dim, {"past": past, "seq": seq}) for dim in value.shape)
        if value.name == "attention_mask":
            inputs[value.name] = np.ones(shape, np.int64)
            inputs[value.name][-1, :padded] = 0
        elif value.name == "position_ids":
            inputs[value.name] = np.broadcast_to(np.arange(past, past + seq), shape).astype(np.int64)
        elif value.type.dtype == "int64":
            inputs[value.name] = generator.integers(0, 2 if "type" in value.name else 30, shape)
        else:
            inputs[value.name] = generator.standard_normal(shape).astype(np.float32)
    return inputs


def assert_same_outputs(before: Graph, after: Graph, past: int, seq: int, padded: int) -> None:
    """Compare everything but what padded queries give, which is arbitrary."""
    inputs = inputs_of(before, past, seq, padded)
    numbers = {"past": past, "seq": seq}
    expected, found = interpret(before, inputs, numbers), interpret(after, inputs, numbers)
    assert expected.keys() == found.keys()
    own_padding = max(0, padded - past)
    for name, array in expected.items():
        skipped = np.s_[..., past + own_padding :, :] if name.startswith("present") else np.s_[:, own_padding:]
        assert np.abs(found[name][skipped] - array[skipped]).max() <= 2e-6 * np.abs(array).max(), name


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_exports_fuse_completely(path: Path, batch: int) -> None:
    family = path.stem.partition("-")[0]
    graph = fused(path, batch=batch)
    counts = {finding.pattern: finding.fused for finding in explain(graph)}
    assert {name: counts[name] for name in FUSED[family]} == FUSED[family]
    assert [finding.unfused for finding in explain(graph) if finding.unfused] == []
    assert set(operations(graph)) <= LEGAL
    assert graph.facts["fuse_attention"]["masks"] == {MASKS[family]: 2}
    assert all("past" not in value.name for value in graph.inputs)
    assert all("present" not in name for name in graph.outputs)


def test_both_exporters_give_the_same_operations() -> None:
    for family in FUSED:
        counts = [Counter(operations(fused(path))) for path in CORPUS if path.stem.startswith(family)]
        assert len(counts) == 2
        assert counts[0] == counts[1]


@pytest.mark.parametrize("name", ["default", "O0"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_exports_keep_their_meaning(path: Path, batch: int, name: str) -> None:
    before, after = import_model(path, {"batch": batch}), fused(path, name, batch=batch)
    has_past = "bert" not in path.stem
    for past, seq, padded in ((0, 3, 0), (4, 1, 2), (3, 5, 3)) if has_past else ((0, 1, 0), (0, 5, 0), (0, 6, 2)):
        assert_same_outputs(before, after, past, seq, padded)


def built(folder: Path, family: str, spelling: str, **options: object) -> Path:
    from bert import BertConfig, build_bert  # type: ignore[import-not-found]
    from gpt2 import Gpt2Config, build_gpt2  # type: ignore[import-not-found]
    from llama import LlamaConfig, build_llama  # type: ignore[import-not-found]
    from model_weights import RandomWeights  # type: ignore[import-not-found]

    kinds = {"bert": (BertConfig, build_bert), "gpt2": (Gpt2Config, build_gpt2), "llama": (LlamaConfig, build_llama)}
    config, build = kinds[family]
    path = folder / "model.onnx"
    build(config(**options), RandomWeights(0), spelling).save(path)
    return path


@pytest.mark.parametrize("spelling", ["dynamo", "torchscript"])
@pytest.mark.parametrize(
    ("family", "options", "mask"),
    [
        ("llama", {}, "causal, key mask"),
        ("llama", {"window": 5}, "causal, window 5, key mask"),
        ("llama", {"window": 4, "cache": False}, "causal, window 4, key mask"),
        ("llama", {"kv_heads": 1, "tied": True}, "causal, key mask"),
        ("llama", {"kv_heads": 4}, "causal, key mask"),
        ("gpt2", {}, "causal, key mask"),
        ("gpt2", {"cache": False}, "causal, key mask"),
        ("bert", {}, "full, key mask"),
    ],
)
def test_built_models(tmp_path: Path, family: str, options: dict[str, object], mask: str, spelling: str) -> None:
    path = built(tmp_path, family, spelling, **options)
    before, after = import_model(path), fused(path)
    assert after.facts["fuse_attention"]["masks"] == {mask: 2}
    assert set(operations(after)) <= LEGAL
    has_past = any("past" in value.name for value in before.inputs)
    for past, seq, padded in ((7, 1, 2), (3, 6, 3)) if has_past else ((0, 1, 0), (0, 7, 0)):
        assert_same_outputs(before, after, past, seq, padded)
    tied = [storage for storage in after.facts["assign_storage"].values() if storage.tied_to]
    assert len(tied) == (family == "gpt2" or bool(options.get("tied")))


@pytest.mark.smollm2
@pytest.mark.slow
def test_smollm2_fuses_completely() -> None:
    path = ROOT / "models" / "build" / "smollm2" / "model.onnx"
    if not path.exists():
        pytest.skip("run models/smollm2.py first")
    graph = import_model(path)
    reports = PassManager(pipeline("default")).run(graph)
    assert graph.facts["fuse_attention"]["masks"] == {"causal, key mask": 30}
    assert set(operations(graph)) <= LEGAL
    assert [storage.tied_to for storage in graph.facts["assign_storage"].values() if storage.tied_to] == [
        "model.embed_tokens.weight"
    ]
    assert sum(report.run_seconds + report.verify_seconds for report in reports) < 30
