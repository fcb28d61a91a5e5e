"""Attention in crossbars in every spelling, with masks and shared heads, in one group a head and in chains of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from attention_machine import CachedAttention, choose_arrays, compile_in_arrays, machine_with_arrays
from attention_models import Attention, attention
from fused_graphs import FusedDecoder
from model_maker import FLOAT, INTEGER, ModelMaker, random_feeds
from numpy.typing import NDArray

from isa import Machine, ResourceLimitError, UnsupportedError, check_program
from passes import Caches, Graph, PlaceWeights, interpret
from pimc import cli
from pimc.backend import ProgramOptions, build_program
from pimc.simulator import Session

CORPUS = Path(__file__).parents[3] / "models" / "corpus"
WIDTH = 12
FORMS = {
    "plain": Attention(),
    "grouped heads": Attention(heads=4, kv_heads=2),
    "one key head": Attention(heads=3, kv_heads=1, head_dim=8),
    "soft cap": Attention(cap=2.0),
    "bias and cap": Attention(heads=4, kv_heads=1, cap=1.5, bias=True, scaled="query"),
    "wide heads": Attention(head_dim=20),
}
MACHINES = {
    "one group a head": machine_with_arrays(3),
    "chains of groups": machine_with_arrays(1),
    "softmax by tables": machine_with_arrays(2, tables=True),
}
CONTEXT = 32


def _check(model: onnx.ModelProto, machine: Machine, runs: Sequence[Mapping[str, int]]) -> None:
    """Compile once, prove the program safe, and compare each run with ONNX Runtime."""
    reference = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    program = compile_in_arrays(model, machine, context=CONTEXT)
    assert check_program(program, machine) == []
    assert {"xprog", "xmvm"} <= {each.mnemonic for each in program.code}
    session = Session(program, machine)
    for seed, sizes in enumerate(runs):
        feeds = random_feeds(model, sizes, seed)
        for value, expected in zip(model.graph.output, reference.run(None, feeds), strict=True):
            found, scale = session.run(feeds)[value.name], max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=1e-5, err_msg=str(dict(sizes)))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("causal", [False, True], ids=["all keys", "causal"])
def test_self_attention_with_padding(form: Attention, machine: Machine, causal: bool) -> None:
    m = ModelMaker()
    x, mask = m.input("x", 1, "seq", WIDTH), m.input("attention_mask", 1, "seq", kind=INTEGER)
    spelled = Attention(**{**vars(form), "causal": causal})
    output = m.op("Add", x, attention(m, spelled, x, x, WIDTH, mask))
    _check(m.model([output]), machine, [{"seq": 5}, {"seq": 1}, {"seq": 32}, {"seq": 19}])


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_attention_over_keys_of_another_length(machine: Machine) -> None:
    m = ModelMaker()
    x, memory = m.input("x", 1, "seq", WIDTH), m.input("memory", 1, "source", WIDTH)
    output = m.op("Add", x, attention(m, Attention(heads=4, kv_heads=2), x, memory, WIDTH))
    _check(m.model([output]), machine, [{"seq": 5, "source": 3}, {"seq": 1, "source": 17}, {"seq": 6, "source": 1}])


def test_a_computed_mask_of_keys() -> None:
    m = ModelMaker()
    x, mask = m.input("x", 1, "seq", WIDTH), m.input("attention_mask", 1, "seq", kind=INTEGER)
    y = m.op("Add", x, attention(m, Attention(causal=True), x, x, WIDTH, mask))
    column = m.op("Unsqueeze", m.op("Cast", mask, to=FLOAT), m.constant(np.array([2])))
    _check(m.model([m.op("Mul", y, column)]), MACHINES["chains of groups"], [{"seq": 5}, {"seq": 1}, {"seq": 19}])


def _decoder(window: int) -> Graph:
    return FusedDecoder(window=window, key_mask=True, head_dim=16, kv_heads=2, context=48).build()


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("window", [0, 9])
def test_a_decoder_goes_on_from_run_to_run(machine: Machine, window: int) -> None:
    """Prefill, decode and prefill again; then a reset and padding."""
    graph = _decoder(window)
    choose_arrays(graph)
    PlaceWeights(machine).run(graph)
    program = build_program(graph, machine, ProgramOptions(48, 8, "fp32", {}))
    assert check_program(program, machine) == []
    session, caches, rng = Session(program, machine), Caches(), np.random.default_rng(3)
    for counts, masked in (((11, 1, 1, 20, 1), False), ((17, 1, 6), True)):
        length = 0
        for count in counts:
            ids = rng.integers(0, 300, (1, count))
            mask = np.ones((1, length + count), np.int64)
            mask[:, : 2 if masked else 0] = 0
            positions = np.arange(length, length + count)[None]
            feeds = {"input_ids": ids, "position_ids": positions, "attention_mask": mask}
            expected = interpret(graph, feeds, caches=caches)["logits"]
            found = session.run(feeds)["logits"]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
            length += count
        session.reset()
        caches.clear()


def _tokens(form: CachedAttention, tokens: int, seed: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    named = zip(("query", "key", "value"), form.widths, strict=True)
    return {name: rng.standard_normal((1, tokens, width)).astype(np.float32) for name, width in named}


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_present_outputs_come_from_the_arrays_and_go_back_into_them(machine: Machine) -> None:
    form = CachedAttention(2, 2, 16, 8)
    session, other = (Session(form.program(machine), machine) for _ in range(2))
    first, second = _tokens(form, 21, 0), _tokens(form, 4, 1)
    kept = session.run(first)
    keys = first["key"].reshape(1, 21, 2, 16).transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(kept["present.key"], keys)
    expected = session.run(second)
    past = {f"past.{name}": kept[f"present.{name}"] for name in ("key", "value")}
    found = other.run({**second, **past})
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-6)


def test_cells_round_keys_values_and_vectors() -> None:
    """8 bits each: present outputs are within half a code of what was given."""
    machine = machine_with_arrays(3)
    form = CachedAttention(2, 1, 32, 32)
    session, exact = (Session(form.program(machine, numerics), machine) for numerics in ("machine", "fp32"))
    given = _tokens(form, 25, 2)
    found, expected = session.run(given), exact.run(given)
    codes = np.abs(given["key"]).max(axis=-1) / 127
    off = np.abs(found["present.key"][0, 0] - given["key"][0]).max(axis=-1)
    assert np.all(off <= 0.51 * codes[0])
    a, b = found["result"].ravel(), expected["result"].ravel()
    cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert 0.999 < cosine < 1 - 1e-9


def test_one_value_that_is_keys_and_values_is_written_once() -> None:
    machine = machine_with_arrays(2)
    m = ModelMaker()
    x = m.input("x", 1, "seq", WIDTH)
    model = m.model([m.op("Add", x, attention(m, Attention(heads=3, kv_heads=3), x, x, WIDTH))])
    pipeline = (
        "constant_folding,canonicalize,constant_folding,canonicalize,common_subexpressions,dead_code,fuse_linear,"
        "fuse_attention,canonicalize,dead_code,select_columns,decompose_attention{choose=all},merge_linear,kv_cache,"
        "canonicalize,dead_code,assign_storage"
    )
    program = compile_in_arrays(model, machine, pipeline=pipeline)
    assert [each.mnemonic for each in program.code].count("xprog") == 1
    assert check_program(program, machine) == []
    feeds = random_feeds(model, {"seq": 13})
    (expected,) = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
    found = Session(program, machine).run(feeds)[model.graph.output[0].name]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_what_does_not_fit_is_refused_with_demand_and_bound() -> None:
    with pytest.raises(ResourceLimitError, match="do not fit the crossbars") as few:
        CachedAttention(2, 2, 16, 16).program(machine_with_arrays(1, groups=5))
    assert few.value.notes == ("demand: 12 groups for 40 tokens of 2 heads", "bound: 5 of 5 groups are free")
    with pytest.raises(ResourceLimitError, match="do not fit a group") as narrow:
        CachedAttention(1, 1, 48, 48).program(machine_with_arrays(2))
    assert narrow.value.notes == ("demand: 48 rows", "bound: 32 rows")


def test_what_arrays_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="no dual access"):
        CachedAttention(1, 1, 16, 16).program(machine_with_arrays(2, dual_access=False))
    m = ModelMaker()
    x = m.input("x", 2, "seq", WIDTH)
    with pytest.raises(UnsupportedError, match="batch=1"):
        compile_in_arrays(m.model([attention(m, Attention(), x, x, WIDTH)]), machine_with_arrays(2))


def test_entries_of_a_program_share_what_lies_in_arrays() -> None:
    """The decoder's prompt writes the keys of the encoder's tokens; later tokens find them where they are."""
    folder = str(CORPUS / "encoder-decoders" / "t5-dynamo")
    units = ["-m", "e2e-pim", "--units", "products=banks,attention=crossbar"]
    assert cli.main(["verify", folder, "--dim", "batch=1", "--max-context", "48", *units, "-q"]) == 0
