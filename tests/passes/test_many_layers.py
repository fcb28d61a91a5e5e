"""The passes' time grows with the number of layers, not with its square."""

import gc
import time
from collections.abc import Callable

import pytest
from bert import BertConfig, build_bert
from llama import LlamaConfig, build_llama
from model_file import BuiltModel
from model_weights import RandomWeights

from passes import PassManager, pipeline, recognised_counts
from pimc.frontend import LoadedModel, import_model, wrap_model


def bert(layers: int) -> BuiltModel:
    return build_bert(BertConfig(layers=layers, hidden=16, heads=2, intermediate=16), RandomWeights(1), "torchscript")


def llama(layers: int) -> BuiltModel:
    config = LlamaConfig(vocabulary=64, hidden=16, layers=layers, heads=2, kv_heads=1, head_dim=8, intermediate=16)
    return build_llama(config, RandomWeights(1), "torchscript")


def seconds_of_passes(model: LoadedModel, layers: int) -> float:
    """Processor time of the default passes, without that of collecting what other tests have left."""
    graph = import_model(model, {})
    gc.collect()
    gc.disable()
    try:
        started = time.process_time()
        PassManager(pipeline("default")).run(graph)
        passed = time.process_time() - started
    finally:
        gc.enable()
    counts = recognised_counts(graph)
    assert (counts["attention"], counts["feed_forward"]) == (layers, layers)
    return passed


@pytest.mark.parametrize("build", [bert, llama])
def test_time_is_linear(build: Callable[[int], BuiltModel]) -> None:
    models = {layers: wrap_model(build(layers).to_proto()) for layers in (1, 8, 32)}
    seconds = {n: min(seconds_of_passes(model, n) for _ in range(3)) for n, model in models.items()}
    assert seconds[32] - seconds[1] < 10 * (seconds[8] - seconds[1])  # 4.4 when linear, 20 when quadratic
