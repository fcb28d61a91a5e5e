"""Every rule of the graph verifier is broken once; what is legal passes."""

from __future__ import annotations

from typing import Any

import pytest
from tests_verified_graphs import PAST, SEQ, f32, findings, kind, one

from passes import LEVELS, OPS, Cache, Graph, TensorType, verify
from passes.recognition.polynomials import equal_products
from passes.verifier.attributes import _KINDS
from passes.verifier.types import _ALL_RULES

ATTENTION = {"heads": 4, "kv_heads": 2, "scale": 0.5, "causal": True, "window": 0, "softcap": 0.0}
QKV = [f32(1, SEQ, 32), f32(1, SEQ, 16), f32(1, SEQ, 16)]
PRESENT = f32(1, 2, PAST + SEQ, 8)
PAST_TYPE = f32(1, 2, PAST, 8)

LEGAL: list[tuple[str, list[TensorType | None], list[TensorType], dict[str, Any]]] = [
    ("add", [f32(SEQ, 1), f32(PAST)], [f32(SEQ, PAST)], {}),
    ("equal", [kind("int64", SEQ), kind("int64")], [kind("bool", SEQ)], {}),
    ("and", [kind("bool", SEQ), kind("bool", 1)], [kind("bool", SEQ)], {}),
    ("pow", [f32(SEQ), kind("int64")], [f32(SEQ)], {}),
    ("where", [kind("bool", SEQ, 1), f32(4), f32()], [f32(SEQ, 4)], {}),
    ("cast", [f32(SEQ)], [kind("bfloat16", SEQ)], {"to": "bfloat16"}),
    ("matmul", [f32(2, SEQ, 4), f32(4, PAST)], [f32(2, SEQ, PAST)], {}),
    ("matmul", [f32(4), f32(2, 4, 3)], [f32(2, 3)], {}),
    ("matmul", [f32(4), f32(4)], [f32()], {}),
    ("reduce_mean", [f32(SEQ, 4)], [f32(SEQ, 1)], {"axes": (-1,), "keepdims": True}),
    ("argmax", [f32(SEQ, 4)], [kind("int64", 4)], {"axis": 0, "keepdims": False}),
    ("softmax", [f32(SEQ, 4)], [f32(SEQ, 4)], {"axis": -1}),
    ("topk", [f32(SEQ, 4)], [f32(SEQ, 2), kind("int64", SEQ, 2)], {"k": 2, "axis": 1, "largest": True}),
    ("reshape", [f32(SEQ, 6, PAST)], [f32(PAST, SEQ * 2, 3)], {"shape": (PAST, SEQ * 2, 3)}),
    ("expand", [f32(1, 4)], [f32(SEQ, 4)], {"shape": (SEQ, 4)}),
    ("transpose", [f32(SEQ, 4, 2)], [f32(2, SEQ, 4)], {"perm": (2, 0, 1)}),
    ("slice", [f32(PAST + SEQ)], [f32(SEQ)], {"axis": 0, "start": PAST, "stop": PAST + SEQ, "step": 1}),
    ("slice", [f32(5)], [f32(3)], {"axis": 0, "start": 4, "stop": -1, "step": -2}),
    ("concat", [f32(PAST, 4), f32(SEQ, 4)], [f32(PAST + SEQ, 4)], {"axis": 0}),
    ("split", [f32(PAST + SEQ, 4)], [f32(PAST, 4), f32(SEQ, 4)], {"axis": 0, "sizes": (PAST, SEQ)}),
    ("gather", [f32(9, 4), kind("int64", 1, SEQ)], [f32(1, SEQ, 4)], {"axis": 0}),
    ("gather_nd", [f32(2, 3, 4), kind("int64", SEQ, 2)], [f32(SEQ, 4)], {"batch_dims": 0}),
    ("gather_elements", [f32(2, 3), kind("int64", 2, SEQ)], [f32(2, SEQ)], {"axis": 1}),
    ("scatter_nd", [f32(2, 4), kind("int64", SEQ, 1), f32(SEQ, 4)], [f32(2, 4)], {"reduction": "none"}),
    ("range", [], [kind("int64", SEQ)], {"start": PAST, "stop": PAST + SEQ, "step": 1, "to": "int64"}),
    ("range", [], [kind("float32", 3)], {"start": 0.0, "stop": 2.5, "step": 1.0, "to": "float32"}),
    ("trilu", [f32(SEQ, 4)], [f32(SEQ, 4)], {"upper": True, "diagonal": PAST}),
    ("layer_norm", [f32(SEQ, 4), f32(4), f32(4)], [f32(SEQ, 4)], {"epsilon": 1e-5}),
    ("rms_norm", [f32(SEQ, 4), f32(4)], [f32(SEQ, 4)], {"epsilon": 1e-5}),
    ("linear", [f32(1, SEQ, 4), f32(4, 6), f32(6)], [f32(1, SEQ, 6)], {}),
    ("feed_forward", [f32(2, 4), f32(4, 6), None, f32(4, 6), None, f32(6, 4)], [f32(2, 4)], {"activation": "silu"}),
    ("rotary", [f32(1, 9, 32), f32(1, 9, 2), f32(1, 9, 2)], [f32(1, 9, 32)], {"heads": 4, "interleaved": False}),
    ("attention", [*QKV], [f32(1, SEQ, 32)], ATTENTION),
    (
        "attention",
        [*QKV, PAST_TYPE, PAST_TYPE, kind("bool", 1, PAST + SEQ)],
        [f32(1, SEQ, 32), PRESENT, PRESENT],
        ATTENTION,
    ),
]


@pytest.mark.parametrize(("op", "operands", "results", "attributes"), LEGAL, ids=[case[0] for case in LEGAL])
def test_legal_nodes_pass(op: str, operands: list[Any], results: list[TensorType], attributes: dict[str, Any]) -> None:
    verify(one(op, operands, results, **attributes))


@pytest.mark.parametrize(("op", "operands", "results", "attributes"), LEGAL, ids=[case[0] for case in LEGAL])
def test_a_wrong_result_type_is_found(
    op: str, operands: list[Any], results: list[TensorType], attributes: dict[str, Any]
) -> None:
    for wrong in (TensorType("int8", results[0].shape), TensorType(results[0].dtype, (*results[0].shape, 1))):
        text = findings(one(op, operands, [wrong, *results[1:]], **attributes))
        assert text == f"g: node '/n': error: {op} 'n' from '/n': the result 'n:0' is {wrong}, but must be {results[0]}"


BROKEN: list[tuple[str, list[TensorType | None], list[TensorType], dict[str, Any], str]] = [
    ("add", [f32(2), kind("int64", 2)], [f32(2)], {}, "the operands have different dtypes: float32, int64"),
    ("and", [f32(2), f32(2)], [f32(2)], {}, "float32 operands are not allowed"),
    ("sqrt", [kind("int64", 2)], [kind("int64", 2)], {}, "int64 operands are not allowed"),
    ("add", [f32(SEQ), f32(PAST)], [f32(SEQ)], {}, "the dimensions seq and past of axis 0 do not broadcast"),
    ("pow", [kind("bool"), f32()], [f32()], {}, "bool[] to the power float32[] is not allowed"),
    ("where", [f32(2), f32(2), f32(2)], [f32(2)], {}, "the condition is float32[2], but must be bool"),
    ("where", [kind("bool"), f32(), kind("int8")], [f32()], {}, "the choices are float32[] and int8[]"),
    ("matmul", [f32(2, 3), f32(4, 2)], [f32(2, 2)], {}, "the inner dimensions 3 and 4 differ"),
    ("matmul", [f32(), f32(4, 2)], [f32(2)], {}, "an operand of rank 0 is no matrix"),
    ("reduce_sum", [f32(2)], [f32()], {"axes": (1,), "keepdims": False}, "axis 1 does not exist in float32[2]"),
    ("reduce_sum", [f32(2)], [f32()], {"axes": (0, -1), "keepdims": False}, "axes [0, -1] name an axis twice"),
    ("reduce_sum", [f32(2)], [f32(2)], {"axes": (), "keepdims": False}, "no axes are given"),
    ("softmax", [f32(2)], [f32(2)], {"axis": 1}, "axis 1 does not exist in float32[2]"),
    (
        "reshape", [f32(SEQ, 4)], [f32(SEQ, 3)], {"shape": (SEQ, 3)},
        "float32[seq, 4] and the new shape have different numbers of elements",
    ),
    ("expand", [f32(2)], [f32(1)], {"shape": (1,)}, "float32[2] does not broadcast to the new shape"),
    ("transpose", [f32(2, 3)], [f32(2, 3)], {"perm": (0, 0)}, "[0, 0] is no permutation of the axes of float32[2, 3]"),
    (
        "slice", [f32(5)], [f32(6)], {"axis": 0, "start": 0, "stop": 6, "step": 1},
        "0:6 does not lie within 5 elements",
    ),
    (
        "slice", [f32(SEQ)], [f32(SEQ)], {"axis": 0, "start": 0, "stop": SEQ, "step": 2},
        "the length of 0:seq:2 is not affine",
    ),
    (
        "concat", [f32(2, 3), f32(2, 4)], [f32(4, 3)], {"axis": 0},
        "float32[2, 3] and float32[2, 4] cannot be joined along axis 0",
    ),
    (
        "split", [f32(5)], [f32(2), f32(2)], {"axis": 0, "sizes": (2, 2)},
        "the sizes add up to 4, but the axis has 5 elements",
    ),
    ("gather", [f32(5), f32(2)], [f32(2)], {"axis": 0}, "the indices are float32[2], but must be integers"),
    (
        "gather_nd", [f32(5), kind("int64", 2, 2)], [f32(2)], {"batch_dims": 0},
        "2 components do not index float32[5]",
    ),
    (
        "gather_nd", [f32(5, 2), kind("int64", 4, 1)], [f32(4)], {"batch_dims": 1},
        "the batches of float32[5, 2] and int64[4, 1] differ",
    ),
    (
        "gather_nd", [f32(5, 2), kind("int64", 5)], [f32(4)], {"batch_dims": 1},
        "the indices int64[5] have no axis of components",
    ),
    (
        "gather_elements", [f32(5, 2), kind("int64", 5)], [f32(5)], {"axis": 0},
        "float32[5, 2] and the indices int64[5] have different ranks",
    ),
    (
        "scatter_nd", [f32(5, 2), kind("int64", 4, 1), f32(4)], [f32(5, 2)], {"reduction": "none"},
        "the updates are float32[4], but must be float32[4, 2]",
    ),
    (
        "scatter_nd", [f32(5), kind("int64", 4, 2), f32(4)], [f32(5)], {"reduction": "none"},
        "2 components do not index float32[5]",
    ),
    (
        "topk", [f32(5, 2)], [f32(5, 3), kind("int64", 5, 3)], {"k": 3, "axis": 1, "largest": True},
        "the 3 best of 2 elements are asked for",
    ),
    ("trilu", [f32(5)], [f32(5)], {"upper": True, "diagonal": 0}, "float32[5] is no matrix"),
    ("rms_norm", [f32(4), f32(3)], [f32(4)], {"epsilon": 0.1}, "weight is float32[3], but must have the shape [4]"),
    ("rms_norm", [kind("int8", 4), f32(4)], [f32(4)], {"epsilon": 0.1}, "x is int8[4], but must be floating point"),
    ("linear", [f32(2, 4), f32(3, 6)], [f32(2, 6)], {}, "weight is float32[3, 6], but must have the shape [4, N]"),
    ("linear", [f32(2, 4), f32(4, 6), f32(5)], [f32(2, 6)], {}, "bias is float32[5], but must have the shape [6]"),
    (
        "feed_forward", [f32(4), f32(4, 6), None, f32(4, 5), None, f32(6, 4)], [f32(4)], {"activation": "relu"},
        "gate and up have different numbers of outputs",
    ),
    (
        "feed_forward", [f32(4), f32(4, 6), None, None, f32(6), f32(6, 4)], [f32(4)], {"activation": "relu"},
        "gate_bias is given without gate",
    ),
    (
        "rotary", [f32(1, SEQ, 6), f32(1, SEQ, 2), f32(1, SEQ, 2)], [f32(1, SEQ, 6)],
        {"heads": 2, "interleaved": False}, "cos is float32[1, seq, 2], but a head has 3 elements",
    ),
    (
        "rotary", [f32(1, SEQ, 7), f32(1, SEQ, 2), f32(1, SEQ, 2)], [f32(1, SEQ, 7)],
        {"heads": 2, "interleaved": False}, "x of width 7 has no 2 equal heads",
    ),
    ("attention", [*QKV], [f32(1, SEQ, 32)], {**ATTENTION, "heads": 3}, "3 heads do not share 2 key heads evenly"),
    (
        "attention", [*QKV, PAST_TYPE, None], [f32(1, SEQ, 32)], ATTENTION,
        "past_key and past_value must be given together",
    ),
    (
        "attention", [*QKV, PAST_TYPE, f32(1, 2, PAST, 7)], [f32(1, SEQ, 32)], ATTENTION,
        "'x4' is float32[1, 2, past, 7], but must have the shape [1, 2, past, 8]",
    ),
    (
        "attention", [*QKV, None, None, kind("bool", 1, PAST)], [f32(1, SEQ, 32)], ATTENTION,
        "key_mask is bool[1, past], but there are seq keys",
    ),
    (
        "attention", [*QKV, None, None, f32(1, SEQ)], [f32(1, SEQ, 32)], ATTENTION,
        "key_mask is float32[1, seq], but must be bool[batch, T]",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("op", "operands", "results", "attributes", "message"), BROKEN, ids=[c[-1] for c in BROKEN])
def test_broken_type_rules(
    op: str, operands: list[Any], results: list[TensorType], attributes: dict[str, Any], message: str
) -> None:
    text = findings(one(op, operands, results, **attributes))
    assert text.splitlines()[0] == f"g: node '/n': error: {op} 'n' from '/n': {message}"


def test_every_operation_has_a_type_rule_and_every_attribute_a_kind() -> None:
    assert set(_ALL_RULES) == set(OPS)
    assert set(_KINDS) == {name for spec in OPS.values() for name in spec.attributes}


@pytest.mark.parametrize(("op", "operands", "results", "attributes"), LEGAL, ids=[case[0] for case in LEGAL])
def test_attributes_of_the_wrong_kind(
    op: str, operands: list[Any], results: list[TensorType], attributes: dict[str, Any]
) -> None:
    for name in attributes:
        text = findings(one(op, operands, results, **{**attributes, name: [1, 1]}))
        wrong = f"the attribute {name} is [1, 1], but must be {_KINDS[name][0]}"
        assert text == f"g: node '/n': error: {op} 'n' from '/n': {wrong}"


def test_an_attribute_of_the_wrong_kind_is_named() -> None:
    graph = one("softmax", [f32(2)], [f32(2)], axis=1.0)
    wrong = "the attribute axis is 1.0, but must be an integer"
    assert findings(graph) == f"g: node '/n': error: softmax 'n' from '/n': {wrong}"


def cached(*caches: Cache, names: tuple[str, ...] = ("kv",)) -> Graph:
    graph = Graph("g")
    values = [graph.add_input(f"x{i}", t) for i, t in enumerate(QKV)]
    for name in names:
        attributes = {**ATTENTION, "cache": name}
        graph.add_node("cached_attention", values, [f32(1, SEQ, 32)], attributes, name="a", origins=["/a"])
    graph.caches = {cache.name: cache for cache in caches}
    return graph


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (cached(), "cached_attention 'a' from '/a': the cache 'kv' does not exist"),
        (
            cached(Cache("kv", 2, 8, 8), names=("kv", "kv")),
            "cached_attention 'a.1' from '/a': the cache 'kv' belongs to cached_attention 'a' already",
        ),
        (
            cached(Cache("kv", 2, 8, 4)),
            "cached_attention 'a' from '/a': the cache has (heads, key width, value width) (2, 8, 4), but the operands"
            " have (2, 8, 8)",
        ),
    ],
)
def test_caches(graph: Graph, message: str) -> None:
    assert findings(graph) == f"g: node '/a': error: {message}"


def test_a_fitting_cache_passes() -> None:
    verify(cached(Cache("kv", 2, 8, 8)))


def test_levels() -> None:
    graph = one("linear", [f32(1, SEQ, 4), f32(4, 6)], [f32(1, SEQ, 6)])
    verify(graph, "fused")
    assert findings(graph, "imported") == (
        "g: node '/n': error: linear 'n' from '/n': the operation is not legal at level 'imported'"
    )
    assert LEVELS["imported"] < LEVELS["fused"] == set(OPS)


def test_products_of_symbolic_dimensions() -> None:
    assert equal_products([SEQ, 6, PAST + SEQ], [(PAST + SEQ) * 2, 3, SEQ])
    assert equal_products([SEQ, 0], [0])
    assert not equal_products([SEQ, SEQ], [SEQ, PAST])
    assert equal_products([SEQ + 1, SEQ + 1], [SEQ + 1, SEQ + 1])
