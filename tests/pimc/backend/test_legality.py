"""Graphs at the border of what the backend takes: right results, or a refusal that names the node."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from isa import InputError, UnsupportedError, load_machine
from pimc.compiler import compile_model
from pimc.simulator import Session

ort = pytest.importorskip("onnxruntime")

MACHINE = load_machine("gddr6-aim")
HIDDEN, TOKENS = 32, 9


class _Model:
    """An encoder block with two heads behind whatever a test puts before or after it."""

    def __init__(self, tokens: int | str = "seq") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.tokens = tokens
        self.random = np.random.default_rng(0)

    def input(self, name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def constant(self, array: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(array, f"c{len(self.constants)}"))
        return self.constants[-1].name

    def weight(self, *shape: int) -> str:
        return self.constant((self.random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32))

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        name = f"{kind}_{len(self.nodes)}"
        results = [name] if outputs == 1 else [f"{name}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, results, name=name, **attributes))
        return results[0] if outputs == 1 else " ".join(results)

    def attention(self, x: str, scale: float = 0.25) -> str:
        def heads() -> str:
            shape = self.constant(np.array([0, -1, 2, HIDDEN // 2]))
            return self.op(
                "Transpose",
                self.op("Reshape", self.op("MatMul", x, self.weight(HIDDEN, HIDDEN)), shape),
                perm=[0, 2, 1, 3],
            )

        query, key, value = heads(), heads(), heads()
        query = self.op("Mul", query, self.constant(np.float32(scale)))
        scores = self.op("MatMul", query, self.op("Transpose", key, perm=[0, 1, 3, 2]))
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), value)
        shape = self.constant(np.array([0, -1, HIDDEN]))
        return self.op("Reshape", self.op("Transpose", mixed, perm=[0, 2, 1, 3]), shape)

    def output(self, value: str, width: int = HIDDEN, sequences: int | str = 1) -> onnx.ModelProto:
        shape = (sequences, self.tokens, width)
        self.outputs.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, shape))
        graph = helper.make_graph(self.nodes, "model", self.inputs, self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def _error(model: onnx.ModelProto) -> float:
    random = np.random.default_rng(1)
    feeds = {}
    for value in model.graph.input:
        shape = [dim.dim_value or TOKENS for dim in value.type.tensor_type.shape.dim]
        is_float = value.type.tensor_type.elem_type == TensorProto.FLOAT
        feeds[value.name] = (
            random.standard_normal(shape).astype(np.float32) if is_float else random.integers(0, 16, shape)
        )
    expected = ort.InferenceSession(model.SerializeToString()).run(None, feeds)[0]
    program = compile_model(model, MACHINE, max_context=64, numerics="fp32")
    found = next(iter(Session(program, MACHINE).run(feeds).values()))
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _positions_of_a_bound_length() -> onnx.ModelProto:
    model = _Model(TOKENS)
    x = model.op("Add", model.input("x", 1, TOKENS, HIDDEN), model.weight(TOKENS, HIDDEN))
    return model.output(model.attention(x))


def _joined_constant_of_a_bound_length() -> onnx.ModelProto:
    model = _Model(TOKENS)
    x = model.op("Concat", model.input("x", 1, TOKENS, 8), model.weight(1, TOKENS, HIDDEN - 8), axis=2)
    return model.output(model.attention(x))


def _products_of_parts() -> onnx.ModelProto:
    model = _Model()
    x = model.attention(model.input("x", 1, "seq", HIDDEN))
    sizes = model.constant(np.array([24, 40]))
    left, right = model.op("Split", model.op("MatMul", x, model.weight(HIDDEN, 64)), sizes, axis=2, outputs=2).split()
    mine = model.op("MatMul", left, model.weight(24, HIDDEN))
    return model.output(model.op("Add", mine, model.op("MatMul", right, model.weight(40, HIDDEN))))


def _gated_by_a_sigmoid() -> onnx.ModelProto:
    model = _Model()
    x = model.attention(model.input("x", 1, "seq", HIDDEN))
    gate = model.op("Sigmoid", model.op("MatMul", x, model.weight(HIDDEN, 72)))
    product = model.op("Mul", gate, model.op("MatMul", x, model.weight(HIDDEN, 72)))
    return model.output(model.op("MatMul", product, model.weight(72, HIDDEN)))


def _residual_of_its_own_source() -> onnx.ModelProto:
    model = _Model()
    x = model.attention(model.input("x", 1, "seq", HIDDEN))
    return model.output(model.op("Add", x, model.op("MatMul", x, model.weight(HIDDEN, HIDDEN))))


def _negative_scale() -> onnx.ModelProto:
    model = _Model()
    return model.output(model.attention(model.input("x", 1, "seq", HIDDEN), scale=-0.25))


def _outer_product_of_tokens() -> onnx.ModelProto:
    model = _Model(TOKENS)
    left, right = model.input("x", 1, TOKENS, 1), model.input("y", 1, 1, TOKENS)
    x = model.op("MatMul", model.op("Mul", left, right), model.weight(TOKENS, HIDDEN))
    return model.output(model.attention(x))


def _columns_of_a_table() -> onnx.ModelProto:
    model = _Model()
    ids = model.input("ids", 1, "seq", kind=TensorProto.INT64)
    rows = model.op("Gather", model.weight(HIDDEN, 16), ids, axis=1)
    x = model.op("Transpose", rows, perm=[1, 2, 0])
    return model.output(model.attention(x))


def _half_of_an_identifier() -> onnx.ModelProto:
    model = _Model()
    ids = model.input("ids", 1, "seq", kind=TensorProto.INT64)
    real = model.op("Mul", model.op("Cast", ids, to=TensorProto.FLOAT), model.constant(np.float32(0.5)))
    half = model.op("Cast", real, to=TensorProto.INT64)
    x = model.op("Gather", model.weight(16, HIDDEN), half, axis=0)
    return model.output(model.attention(x))


def _batch_of_two() -> onnx.ModelProto:
    model = _Model()
    return model.output(model.attention(model.input("x", 2, "seq", HIDDEN)), sequences=2)


RIGHT: dict[str, Callable[[], onnx.ModelProto]] = {
    "a constant with a row for each token": _positions_of_a_bound_length,
    "a constant joined to each token": _joined_constant_of_a_bound_length,
    "products of neighbouring parts": _products_of_parts,
    "a gate by a sigmoid": _gated_by_a_sigmoid,
    "x + W x": _residual_of_its_own_source,
    "a negative scale": _negative_scale,
    "an outer product of tokens": _outer_product_of_tokens,
    "columns of a table": _columns_of_a_table,
    "half of an identifier": _half_of_an_identifier,
    "a batch of two": _batch_of_two,
}


@pytest.mark.parametrize("name", RIGHT)
def test_result_equals_onnx_runtime(name: str) -> None:
    assert _error(RIGHT[name]()) < 1e-5


def _unbound_batch() -> onnx.ModelProto:
    model = _Model()
    return model.output(model.attention(model.input("x", "rows", "seq", HIDDEN)), sequences="rows")


def _integers_of_more_than_32_bits() -> onnx.ModelProto:
    model = _Model()
    ids = model.op("Add", model.input("ids", 1, "seq", kind=TensorProto.INT64), model.constant(np.array([1 << 40])))
    x = model.op("Cast", model.op("Unsqueeze", ids, model.constant(np.array([2]))), to=TensorProto.FLOAT)
    return model.output(model.attention(model.op("Mul", x, model.weight(HIDDEN))))


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "a batch without a number": (_unbound_batch, "batch"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_names_the_node_and_the_reason(name: str) -> None:
    build, reason = REFUSED[name]
    with pytest.raises(UnsupportedError) as caught:
        compile_model(build(), MACHINE, max_context=64)
    assert any(reason in note for note in caught.value.notes)
    assert caught.value.place is not None
    assert caught.value.place.node is not None


def test_integers_of_more_than_32_bits_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="the integers of the constant 'c0' do not fit 32 bits"):
        compile_model(_integers_of_more_than_32_bits(), MACHINE, max_context=64)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"bank_groups": 2}, "8 banks, but a column has 16 lanes"), ({"mac_gb_column": "equal"}, "mac_gb_column: equal")],
)
def test_machines_that_the_layout_does_not_fit_are_refused(change: dict[str, object], reason: str) -> None:
    assert MACHINE.near_bank is not None
    machine = MACHINE.model_copy(update={"near_bank": MACHINE.near_bank.model_copy(update=change)})
    with pytest.raises(UnsupportedError, match=reason):
        compile_model(_residual_of_its_own_source(), machine, max_context=64)


def test_identifiers_outside_the_table_are_refused() -> None:
    model = _Model()
    ids = model.input("ids", 1, "seq", kind=TensorProto.INT64)
    x = model.op("Gather", model.weight(16, HIDDEN), ids, axis=0)
    session = Session(compile_model(model.output(model.attention(x)), MACHINE, max_context=64), MACHINE)
    with pytest.raises(InputError) as caught:
        session.run({"ids": np.array([[1, 16]])})
    assert caught.value.notes == ("'ids' has values from 1 to 16, allowed: -16 to 15",)
    session.run({"ids": np.array([[15, -16]])})
