"""Nodes that do not fit their operator's definition are refused as input, whatever is wrong with them."""

from __future__ import annotations

import random
from typing import Any

import onnx
import pytest
from node_tests import load_cases, operator_of, supported_operators
from onnx import TensorProto, helper
from onnx_graphs import ints, model, node, tensor

from isa import InputError, PimcError
from passes import verify
from pimc.frontend import import_model

NUMBERS = (-100, -1, 0, 1, 2, 7, 1 << 40, -(1 << 63))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (node("Add", ["x"], ["y"]), "Add has 1 operands, but must have 2"),
        (node("Add", ["x", ""], ["y"]), "operand 1 of Add is missing"),
        (node("Add", ["x", "i"], ["y"]), "operands of Add are float32 and int64, but must be of one type"),
        (node("Concat", ["x", "x"], ["y"]), "the attribute 'axis' of Concat is missing"),
        (
            node("Softmax", ["x"], ["y"], axis=1.0),
            "the attribute 'axis' of Softmax is of the type FLOAT, but must be INT",
        ),
        (node("Softmax", ["x"], ["y"], axes=1), "Softmax has no attribute 'axes'"),
        (node("Sqrt", ["i"], ["y"]), "operand 0 of Sqrt is int64[2], a type that it does not take"),
        (node("Unsqueeze", ["x", "i"], ["y"]), "the axes [1, 1] name an axis twice"),
        (node("Split", ["x"], ["y"], num_outputs=1 << 40), "Split cannot give 1099511627776 pieces"),
        (node("Gelu", ["x"], ["y"], approximate="erf"), "the attribute 'approximate' of Gelu is 'erf'"),
    ],
)
def test_messages(made: onnx.NodeProto, message: str) -> None:
    with pytest.raises(InputError) as caught:
        import_model(model([made], [tensor("x", (2, 3))], ["y"], [ints("i", 1, 1)]))
    assert caught.value.message.startswith(message)
    assert caught.value.place is not None
    assert caught.value.place.node == "/y"


def _spoil_attributes(chance: random.Random, changed: onnx.NodeProto) -> None:
    """Leave one out, or give it another value."""
    if not changed.attribute:
        return
    attribute = chance.choice(changed.attribute)
    if attribute.type == onnx.AttributeProto.INT:
        attribute.i = chance.choice(NUMBERS)
    elif attribute.type == onnx.AttributeProto.INTS and attribute.ints:
        attribute.ints[chance.randrange(len(attribute.ints))] = chance.choice(NUMBERS)
    elif attribute.type == onnx.AttributeProto.STRING:
        attribute.s = chance.choice([b"", b"other", b"\xff"])
    else:
        changed.attribute.remove(attribute)


def _spoil_types(chance: random.Random, changed: onnx.ModelProto) -> None:
    """Give an input another element type, rank or dimension."""
    if not changed.graph.input:
        return
    kind = chance.choice(changed.graph.input).type.tensor_type
    way = chance.randrange(4)
    if way == 0:
        kind.elem_type = chance.choice([TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.UINT8])
    elif way == 1 and kind.shape.dim:
        del kind.shape.dim[-1]
    elif way == 2:
        kind.shape.dim.add().dim_value = 2
    elif kind.shape.dim:
        chance.choice(kind.shape.dim).CopyFrom(chance.choice([DYNAMIC, EMPTY]))


DYNAMIC = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"]).type.tensor_type.shape.dim[0]
EMPTY = helper.make_tensor_value_info("x", TensorProto.FLOAT, [0]).type.tensor_type.shape.dim[0]


def _spoiled(chance: random.Random, case: Any) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(case.model)
    for entry in changed.opset_import:
        entry.version = max(entry.version, 13) if entry.domain == "" else entry.version
    first = changed.graph.node[0]
    way = chance.randrange(4)
    if way == 0:
        _spoil_attributes(chance, first)
    elif way == 1 and first.input:
        first.input[chance.randrange(len(first.input))] = ""
    elif way == 2 and first.input:
        del first.input[-1]
    else:
        _spoil_types(chance, changed)
    return changed


def test_spoiled_cases_end_with_a_diagnostic() -> None:
    """Each of onnx's own cases with something changed at random: imported and legal, or refused."""
    chance = random.Random(1)
    cases = [case for case in load_cases() if operator_of(case) in supported_operators()]
    refused = 0
    for case in cases:
        changed = _spoiled(chance, case)
        try:
            graph = import_model(changed)
        except PimcError:
            refused += 1
        else:
            verify(graph, "imported")
    assert refused > len(cases) // 2
