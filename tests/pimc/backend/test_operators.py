"""Operators on whole tensors: every layout of their operands, at several lengths from one program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from model_maker import BOOL, FLOAT, INTEGER, ModelMaker, check
from onnx import TensorProto

Outputs = Mapping[str, int] | Sequence[str]
Build = Callable[[ModelMaker, str, str], Outputs]
"""Makes outputs from `x` [2, seq, 12] and from the integers `ids` [2, seq]."""

HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
CASES: dict[str, Build] = {}


def case(build: Build) -> Build:
    CASES[build.__name__] = build
    return build


@case
def reshapes_of_transposed_values(m: ModelMaker, x: str, ids: str) -> Outputs:
    return [
        m.reshape(m.op("Transpose", x, perm=[2, 0, 1]), 4, 3, 2, -1),
        m.reshape(m.op("Transpose", x, perm=[1, 0, 2]), -1, 24),
        m.reshape(m.op("Transpose", x, perm=[0, 2, 1]), 2, 6, 2, -1),
        m.reshape(x, -1, 12),
        m.reshape(x, 2, -1, 3, 2, 2),
    ]


@case
def reductions_over_any_axes(m: ModelMaker, x: str, ids: str) -> Outputs:
    results = []
    for kind in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"):
        for axes, keep in (([1], 0), ([0, 2], 1), ([1, 2], 0), ([-1], 0), ([0, 1, 2], 1)):
            results.append(m.op(kind, x, m.constant(np.array(axes)), keepdims=keep))
    return [*results, m.op("ReduceL2", x, m.constant(np.array([1]))), m.op("ReduceSumSquare", x, m.constant([2]))]


@case
def indices_of_the_largest(m: ModelMaker, x: str, ids: str) -> Outputs:
    found = [m.op("ArgMax", x, axis=axis, keepdims=keep) for axis, keep in ((0, 0), (1, 1), (2, 0), (-1, 1))]
    return dict.fromkeys([*found, m.op("ArgMin", x, axis=1)], INTEGER)


@case
def conversions_to_half_precision(m: ModelMaker, x: str, ids: str) -> Outputs:
    large = m.op("Mul", ids, m.constant(np.array([4097])))
    scaled = m.op("Mul", x, m.constant(np.array([1e4], np.float32)))
    rounded = [m.op("Cast", value, to=kind) for value in (x, large, ids, scaled) for kind in HALVES]
    return [m.op("Cast", value, to=FLOAT) for value in rounded]


@case
def products_that_broadcast(m: ModelMaker, x: str, ids: str) -> Outputs:
    four = m.op("Unsqueeze", x, m.constant(np.array([1])))
    return [
        m.op("MatMul", four, m.weight(3, 12, 5)),
        m.op("MatMul", x, m.op("Transpose", x, perm=[0, 2, 1])),
        m.op("MatMul", m.op("Transpose", x, perm=[0, 2, 1]), x),
        m.op("MatMul", x, m.weight(12)),
        m.op("MatMul", m.weight(2, 7, 12), m.op("Transpose", x, perm=[0, 2, 1])),
        m.op("Gemm", m.reshape(x, -1, 12), m.weight(5, 12), m.weight(5), transB=1, alpha=0.5, beta=2.0),
    ]


@case
def gathered_rows_and_elements(m: ModelMaker, x: str, ids: str) -> Outputs:
    index = m.op("Unsqueeze", ids, m.constant(np.array([2])))
    pairs = m.op("Concat", index, index, axis=2)
    return [
        m.op("Gather", x, m.constant(np.array([0, -1])), axis=1),
        m.op("Gather", x, m.constant(np.array([[3, -2], [11, 0]])), axis=2),
        m.op("Gather", x, m.constant(np.int64(1)), axis=0),
        m.op("GatherElements", x, pairs, axis=2),
        m.op("Gather", m.weight(9, 4), ids, axis=0),
        m.op("Gather", m.weight(9, 4, 8), ids, axis=2),
        m.op("GatherND", m.weight(8, 8, 3), pairs),
        m.op("GatherND", x, m.constant(np.array([[1, 0], [0, -1]]))),
    ]


@case
def scattered_elements(m: ModelMaker, x: str, ids: str) -> Outputs:
    index = m.op("Unsqueeze", ids, m.constant(np.array([2])))
    update = m.slice(x, 2, 0, 1)
    return [
        m.op("ScatterElements", x, index, update, axis=2),
        m.op("ScatterElements", x, index, update, axis=2, reduction="add"),
        m.op("ScatterND", x, m.constant(np.array([[0, 0], [1, -1]])), m.weight(2, 12)),
    ]


@case
def the_largest_and_smallest(m: ModelMaker, x: str, ids: str) -> Outputs:
    outputs: dict[str, int] = {}
    for axis, largest in ((2, 1), (2, 0), (0, 1)):
        values, indices = m.ops("TopK", x, m.constant(np.array([2])), count=2, axis=axis, largest=largest)
        outputs |= {values: FLOAT, indices: INTEGER}
    return outputs


@case
def running_sums(m: ModelMaker, x: str, ids: str) -> Outputs:
    one, two = m.constant(np.int64(1)), m.constant(np.int64(2))
    return {
        m.op("CumSum", x, one): FLOAT,
        m.op("CumSum", x, two, exclusive=1): FLOAT,
        m.op("CumSum", x, one, reverse=1): FLOAT,
        m.op("CumSum", ids, one): INTEGER,
        m.op("CumSum", ids, one, exclusive=1, reverse=1): INTEGER,
    }


@case
def integers_and_comparisons(m: ModelMaker, x: str, ids: str) -> Outputs:
    three = m.constant(np.int64(3))
    small, even = m.op("Less", ids, three), m.op("Equal", m.op("Mod", ids, m.constant(np.int64(2))), m.constant(0))
    wide = m.op("Unsqueeze", small, m.constant(np.array([2])))
    return {
        m.op("Where", wide, x, m.op("Neg", x)): FLOAT,
        m.op("Where", m.op("Greater", x, m.real(0)), x, m.weight(12)): FLOAT,
        m.op("And", small, even): BOOL,
        m.op("Or", small, m.op("Not", even)): BOOL,
        m.op("Xor", small, even): BOOL,
        m.op("Div", m.op("Sub", ids, three), m.constant(np.int64(2))): INTEGER,
        m.op("Mul", m.op("Add", ids, three), ids): INTEGER,
        m.op("Max", ids, three): INTEGER,
        m.op("ReduceSum", ids, m.constant(np.array([1]))): INTEGER,
        m.op("ReduceMax", ids, m.constant(np.array([1]))): INTEGER,
        m.op("Cast", small, to=FLOAT): FLOAT,
        m.op("Cast", x, to=INTEGER): INTEGER,
        m.op("GreaterOrEqual", x, m.slice(x, 2, 3, 4)): BOOL,
        m.op("Where", small, ids, three): INTEGER,
    }


@case
def joined_and_cut(m: ModelMaker, x: str, ids: str) -> Outputs:
    first, last = m.slice(x, 1, 0, 1), m.slice(x, 1, -1, 1 << 40)
    left, right = m.ops("Split", x, m.constant(np.array([5, 7])), count=2, axis=2)
    return [
        m.op("Concat", first, x, m.weight(2, 3, 12), axis=1),
        m.op("Concat", x, last, x, axis=1),
        m.op("Concat", x, x, axis=0),
        m.op("Concat", right, left, right, axis=2),
        m.slice(x, 2, 11, -13, -2),
        m.slice(x, 1, 1, 1 << 40),
        m.slice(m.op("Concat", x, x, axis=1), 1, 1, -1),
    ]


@case
def softmax_along_any_axis(m: ModelMaker, x: str, ids: str) -> Outputs:
    along = [m.op("Softmax", x, axis=axis) for axis in (0, 1, 2)]
    return [*along, m.op("LogSoftmax", x, axis=1), m.op("Softmax", m.op("Transpose", x, perm=[0, 2, 1]), axis=-1)]


@case
def repeated_and_padded(m: ModelMaker, x: str, ids: str) -> Outputs:
    four = m.op("Unsqueeze", x, m.constant(np.array([1])))
    return [
        m.op("Expand", four, m.constant(np.array([2, 3, 1, 12]))),
        m.op("Tile", x, m.constant(np.array([1, 1, 2]))),
        m.op("Pad", x, m.constant(np.array([0, 1, 2, 0, 0, 3])), m.real(0.5)),
        m.op("Trilu", x, upper=0),
        m.op("Trilu", x, m.constant(np.int64(2)), upper=1),
        m.op("Clip", x, m.real(-0.5), m.real(1.5)),
        m.op("Pow", m.op("Abs", x), m.real(1.5)),
    ]


@case
def integers_of_all_sizes(m: ModelMaker, x: str, ids: str) -> Outputs:
    """Remainders of large divisors, means of negative numbers, and what binary32 cannot hold."""
    middle = m.op("Sub", ids, m.constant(np.array([20])))
    large = m.op("Mul", middle, m.constant(np.array([50_000_003])))
    odd = m.op("Add", m.op("Abs", large), m.constant(np.array([1])))
    results = [m.op("Relu", m.op("Cast", value, to=TensorProto.INT32)) for value in (middle, large)]
    for divisor in (7, -7, 65_537, (1 << 31) - 1, -(1 << 31)):
        results += [
            m.op("Mod", value, m.constant(np.array([divisor])), fmod=kind)
            for value in (large, middle)
            for kind in (0, 1)
        ]
    results += [m.op("Mod", large, odd), m.op("Mod", middle, odd, fmod=1)]
    results += [m.op("ReduceMean", middle, m.constant(np.array(axes))) for axes in ([0], [1], [0, 1])]
    return {name: TensorProto.INT32 if place < 2 else INTEGER for place, name in enumerate(results)}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("bound", [False, True], ids=["any length", "bound length"])
def test_operator_equals_onnx_runtime(name: str, bound: bool) -> None:
    m = ModelMaker()
    outputs = CASES[name](m, m.input("x", 2, "seq", 12), m.input("ids", 2, "seq", kind=INTEGER))
    lengths = [7] if bound else [5, 1, 17]
    check(m.model(outputs), [{"seq": length} for length in lengths], {"seq": 7} if bound else None)
