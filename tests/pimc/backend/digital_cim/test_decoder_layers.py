"""Layers of ONNX models as cores run them: sizes come from the graph, what has no unit is named."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from small_core import small_core

import isa
from passes import Graph, PassManager, pipeline
from pimc.backend import CimLayer, DeclaredCache, Workload, build_cim_layer, cim_layers
from pimc.frontend import import_model, load_model

CORPUS = Path(__file__).parents[4] / "models" / "corpus"
CACHE = DeclaredCache(0.3, 0.5, 0.4, 4.0, 3.0)


def fused(model: onnx.ModelProto) -> Graph:
    graph = import_model(model, {})
    PassManager(pipeline("default")).run(graph)
    return graph


def corpus_model(name: str) -> onnx.ModelProto:
    return load_model(CORPUS / f"{name}.onnx")


@pytest.mark.parametrize("exporter", ["dynamo", "dynamo-plain", "torchscript", "torchscript-plain", "optimum"])
def test_every_export_of_opt_has_two_layers_of_its_sizes(exporter: str) -> None:
    graph = fused(corpus_model(f"decoders/opt-{exporter}"))
    assert cim_layers(graph, CACHE) == [CimLayer(32, 4, 16, CACHE)] * 2


def test_a_layer_of_a_graph_is_compiled(tmp_path: Path) -> None:
    machine = small_core(tmp_path, "\n").model_dump()
    machine["digital_cim"]["engines"]["count"] = machine["digital_cim"]["softmax"]["count"] = 4
    core = isa.Machine.model_validate(machine)
    layer, _ = cim_layers(fused(corpus_model("decoders/opt-dynamo")), CACHE)
    program = build_cim_layer(layer, core, Workload(5, 4))
    assert isa.check_program(program, core) == []
    widths = {each["inputs"] for each in program.code if each.mnemonic == "dmvm" and each["engine"] == "down"}
    assert widths == {16}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gpt2-dynamo", "its feed-forward network has gelu_tanh; the core has ReLU"),
        ("llama-torchscript", "query comes from rotary, not from a projection"),
        ("llama-torchscript", "4 heads share 2 key heads"),
        ("bert-dynamo", "attention is not causal"),
        ("decoders/bloom-optimum", "scores have a bias"),
    ],
)
def test_what_a_core_has_no_unit_for_is_named(name: str, reason: str) -> None:
    with pytest.raises(isa.UnsupportedError, match="a digital CIM core cannot run the layers of") as caught:
        cim_layers(fused(corpus_model(name)), CACHE)
    assert any(note.endswith(reason) for note in caught.value.notes), caught.value.notes


def test_another_scale_of_scores_is_refused() -> None:
    graph = fused(corpus_model("decoders/opt-dynamo"))
    next(node for node in graph.nodes if node.op == "cached_attention").attributes["scale"] = 0.25
    with pytest.raises(isa.UnsupportedError) as caught:
        cim_layers(graph, CACHE)
    assert "scores are multiplied by 0.25, not by 1 / sqrt(width of a head)" in caught.value.notes[0]


def test_a_layer_that_does_not_get_the_one_before_is_refused() -> None:
    """The second layer's normalisation and residual are given what the first layer was given."""
    graph = fused(corpus_model("decoders/opt-dynamo"))
    first, _, second = [node for node in graph.nodes if node.op == "layer_norm"][:3]
    graph.replace_uses(second.operand(0), first.operand(0))
    with pytest.raises(isa.UnsupportedError) as caught:
        cim_layers(graph, CACHE)
    assert any("it does not get what the layer before it gives" in note for note in caught.value.notes)


def test_a_graph_without_attention_is_refused() -> None:
    graph = Graph("empty")
    with pytest.raises(isa.UnsupportedError, match="has no layer for a digital CIM core"):
        cim_layers(graph, CACHE)
