"""TopK: exact for all integers and for infinities, the first of equal elements first."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from model_maker import FLOAT, MACHINE, ModelMaker

from isa import check_program
from passes.interpreter.operations import Array
from pimc.compiler import compile_model
from pimc.simulator import Session

INTEGERS = st.sampled_from([-(2**31), 1 - 2**31, -3, 0, 2**24, 2**24 + 1, 2**31 - 2, 2**31 - 1])
REALS = st.sampled_from([-np.inf, float(np.finfo(np.float32).min), -1.5, -0.0, 0.0, 1e-40, 2.0, np.inf])


def model_of(shape: tuple[int, ...], kind: int, axis: int, k: int, largest: bool) -> onnx.ModelProto:
    m = ModelMaker()
    x = m.input("x", *shape, kind=kind)
    values, indices = m.ops("TopK", x, m.constant(np.array([k])), count=2, axis=axis, largest=int(largest))
    return m.model({values: kind, indices: onnx.TensorProto.INT64})


def expected_of(x: Array, axis: int, k: int, largest: bool) -> tuple[Array, Array]:
    """By comparisons alone, without ranks or negation: how many elements come before each one."""
    rows = np.moveaxis(x, axis, -1)
    one, other = rows[..., :, None], rows[..., None, :]
    place = np.arange(rows.shape[-1])
    ahead = (other > one if largest else other < one) | ((other == one) & (place[None, :] < place[:, None]))
    order = np.argsort(ahead.sum(-1), axis=-1)[..., :k]
    values = np.take_along_axis(rows, order, axis=-1)
    return np.moveaxis(values, -1, axis), np.moveaxis(order, -1, axis)


def check_top(x: Array, kind: int, axis: int, k: int, largest: bool) -> None:
    model = model_of(x.shape, kind, axis, k, largest)
    program = compile_model(model, MACHINE, max_context=32, numerics="fp32")
    assert check_program(program, MACHINE) == []
    found = Session(program, MACHINE).run({"x": x})
    for value, expected in zip(model.graph.output, expected_of(x, axis, k, largest), strict=True):
        np.testing.assert_array_equal(found[value.name], expected)


@settings(max_examples=25)
@given(data=st.data(), axis=st.integers(-1, 2), largest=st.booleans(), is_real=st.booleans())
def test_ties_infinities_and_large_integers(data: st.DataObject, axis: int, largest: bool, is_real: bool) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * 3))
    dtype, elements = (np.float32, REALS) if is_real else (np.int64, INTEGERS)
    x = data.draw(arrays.arrays(dtype, shape, elements=elements))
    k = data.draw(st.integers(1, shape[axis]))
    check_top(x, FLOAT if is_real else onnx.TensorProto.INT64, axis, k, largest)


@pytest.mark.parametrize("largest", [True, False])
def test_each_index_is_found_once(largest: bool) -> None:
    excluded = -np.inf if largest else np.inf
    x = np.array([[excluded, 1.0, excluded, excluded], [excluded] * 4], np.float32)
    check_top(x, FLOAT, -1, 4, largest)
