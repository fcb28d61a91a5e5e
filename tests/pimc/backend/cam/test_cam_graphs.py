"""Which graphs become programs for a CAM: shared key heads, several tokens, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.decoder_attention import decoder_attention
from isa import UnsupportedError, check_program, load_machine
from passes import BinaryKeys, Cache, Compression, Graph, TensorType, interpret, symbol
from pimc.backend import ProgramOptions, build_cam_program
from pimc.cli import main
from pimc.compiler import compile_model
from pimc.simulator import Session

MODELS = Path(__file__).parents[4] / "models"
PUBLISHED = Compression(selection=BinaryKeys(32, 16, 2, 6))


def attention(heads: int, kv_heads: int, batch: int = 1, softcap: float = 0.0) -> Graph:
    """An attention over several tokens, whose heads of 16 channels share key heads."""
    graph, tokens, past = Graph("attention"), symbol("seq"), symbol("past")
    inputs = []
    for name, count in (("query", heads), ("key", kv_heads), ("value", kv_heads)):
        graph.signature[name] = TensorType("float32", (batch, tokens, count * 16))
        inputs.append(graph.add_input(name, graph.signature[name]))
    ports = ("past.key", "past.value", "present.key", "present.value")
    graph.caches["cache"] = Cache("cache", kv_heads, 16, 16, *ports, compression=PUBLISHED)
    for port in ports:
        length = past if port.startswith("past") else past + tokens
        graph.signature[port] = TensorType("float32", (batch, kv_heads, length, 16))
    facts = {"heads": heads, "kv_heads": kv_heads, "scale": 0.25, "causal": True, "window": 0, "softcap": softcap}
    kind = TensorType("float32", (batch, tokens, heads * 16))
    node = graph.add_node("cached_attention", inputs, [kind], facts | {"cache": "cache"})
    graph.outputs["result"], graph.signature["result"] = node.output, kind
    return graph


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (3, 1), (5, 5)])
def test_heads_that_share_keys_and_several_tokens_equal_the_interpreter(heads: int, kv_heads: int) -> None:
    graph, machine = attention(heads, kv_heads), load_machine("cam-camformer")
    program = build_cam_program(graph, machine, ProgramOptions(200, 16, "fp32", {"table_rows": {}}))
    assert check_program(program, machine) == []
    session, random, caches = Session(program, machine), np.random.default_rng(heads), {}
    for tokens in (40, 1, 7):
        inputs = {
            name: random.standard_normal((1, tokens, count * 16), np.float32)
            for name, count in (("query", heads), ("key", kv_heads), ("value", kv_heads))
        }
        expected = interpret(graph, inputs, caches=caches)["result"]
        assert session.run(inputs, ["result"])["result"] == pytest.approx(expected, abs=2e-6)
    assert session.kv_length == 48


def test_what_has_no_code_is_named_with_its_number() -> None:
    with pytest.raises(UnsupportedError, match="is more than an attention") as caught:
        compile_model(MODELS / "tiny-shakespeare.onnx", load_machine("cam-camformer"))
    text = str(caught.value)
    assert "there is no code for it without near-bank units" in text
    assert "linear '" in text
    assert "attention '" not in text


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (attention(2, 2, softcap=30.0), "limits its scores, or has a window"),
        (attention(2, 2, batch=3), "has 3 sequences; allowed: 1"),
    ],
)
def test_other_attention_is_refused(graph: Graph, message: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        build_cam_program(graph, load_machine("cam-camformer"), ProgramOptions(64, 1, "fp32", {}))
    assert message in str(caught.value)


def test_attention_without_a_selection_is_refused() -> None:
    graph = attention(2, 2)
    cache = graph.caches["cache"]
    graph.caches["cache"] = Cache("cache", 2, 16, 16, cache.past_key, cache.past_value)
    with pytest.raises(UnsupportedError, match="does not search its keys by signs alone"):
        build_cam_program(graph, load_machine("cam-camformer"), ProgramOptions(64, 1, "fp32", {}))


def test_a_machine_without_a_cam_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="the machine 'gddr6-aim' has no CAM"):
        build_cam_program(attention(2, 2), load_machine("gddr6-aim"), ProgramOptions(64, 1, "fp32", {}))


def test_the_command_line_compiles_runs_checks_and_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, program, inputs = (str(tmp_path / name) for name in ("m.onnx", "m.pim", "in.npz"))
    onnx.save(decoder_attention(2, 16), model)
    row, past = np.ones((1, 1, 32), np.float32), np.ones((1, 2, 99, 16), np.float32)
    np.savez(inputs, **{"query": row, "key": row, "value": row, "past.key": past, "past.value": past})
    assert main(["compile", model, "-m", "cam-camformer", "-o", program]) == 0
    assert main(["check", program]) == 0
    assert main(["run", program, "-i", inputs, "--trace", str(tmp_path / "t.perfetto")]) == 0
    assert main(["verify", model, "-m", "cam-camformer", "--numerics", "fp32"]) == 0
    assert "outputs equal those of the policies' meaning in numpy" in capsys.readouterr().out
