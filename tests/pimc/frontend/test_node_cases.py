"""The operators' own conformance cases of the onnx package, through frontend, verifier and interpreter."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import onnx
import pytest

from isa import UnsupportedError
from passes import interpret, verify
from pimc.frontend import import_model
from pimc.frontend.operators import IMPORTERS

STATIC_OPERANDS = {
    "ConstantOfShape": (0,),
    "CumSum": (1,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
}
"""Operands that decide shapes: given as weights, since a compiled program's shapes do not depend on data."""

TYPES_NOT_TAKEN = (
    "INT16", "UINT16", "UINT32", "UINT64", "FLOAT8", "FLOAT4", "INT4", "UINT4", "INT2", "UINT2", "STRING", "COMPLEX",
)  # fmt: skip
CASES_NOT_TAKEN = {
    "test_dropout_default_mask": "the mask of a Dropout is for training",
    "test_dropout_default_mask_ratio": "the mask of a Dropout is for training",
    "test_training_dropout": "training",
    "test_training_dropout_default": "training",
    "test_training_dropout_default_mask": "training",
    "test_training_dropout_mask": "training",
    "test_training_dropout_zero_ratio": "training",
    "test_training_dropout_zero_ratio_mask": "training",
    "test_scatternd_add": "reductions",
    "test_scatternd_max": "reductions",
    "test_scatternd_min": "reductions",
    "test_scatternd_max_with_element_indices": "reductions",
    "test_scatternd_min_with_element_indices": "reductions",
    "test_scatternd_multiply": "reductions",
    "test_identity_sequence": "sequences are not tensors",
    "test_identity_opt": "optional values are not tensors",
    "test_edge_pad": "padding by anything but a constant",
    "test_reflect_pad": "padding by anything but a constant",
    "test_wrap_pad": "padding by anything but a constant",
}
OPERATORS = sorted(name for domain, name in IMPORTERS if domain == "")
WITHOUT_CASES = {"SimplifiedLayerNormalization"}
RELATIVE_TOLERANCE = {"float16": 4e-3, "bfloat16": 2e-2}
"""Half precision: the cases' references round at other places, by one or two units in the last place."""


@pytest.fixture(scope="module")
def cases() -> dict[str, list[object]]:
    """Cases by operator, of which all operators are supported."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = load_model_tests(kind="node")
    by_operator: dict[str, list[object]] = {}
    for case in loaded:
        operators = {node.op_type for node in case.model.graph.node}
        if "_expanded" not in case.name and operators <= set(OPERATORS):
            for name in operators:
                by_operator.setdefault(name, []).append(case)
    return by_operator


def array(value: object) -> np.ndarray:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def compilable(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The model with the operands that decide shapes as weights, and in operator set 13 when it is older."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for node in changed.graph.node:
        axes = (1,) if node.op_type.startswith("Reduce") else ()
        for index in STATIC_OPERANDS.get(node.op_type, axes):
            if index < len(node.input) and node.input[index] in inputs:
                name = node.input[index]
                changed.graph.initializer.append(onnx.numpy_helper.from_array(inputs[name], name))
    for entry in changed.opset_import:
        entry.version = max(entry.version, 13) if entry.domain == "" else entry.version
    return changed


def differences(case: object) -> list[str]:
    """What is wrong with the results of a case."""
    wrong: list[str] = []
    for given, wanted in case.data_sets:
        names = [info.name for info in case.model.graph.input]
        inputs = {name: array(value) for name, value in zip(names, given, strict=False)}
        model = compilable(case.model, inputs)
        graph = import_model(model)
        verify(graph, "imported")
        results = interpret(graph, {value.name: inputs[value.name] for value in graph.inputs})
        for info, value in zip(model.graph.output, wanted, strict=True):
            wrong += compare(f"{case.name} {info.name}", results[info.name], array(value), case.rtol)
    return wrong


def compare(name: str, result: np.ndarray, wanted: np.ndarray, tolerance: float) -> list[str]:
    if (result.dtype, result.shape) != (wanted.dtype, wanted.shape):
        return [f"{name}: {result.dtype}{result.shape} instead of {wanted.dtype}{wanted.shape}"]
    relative = max(RELATIVE_TOLERANCE.get(wanted.dtype.name, 1e-5), tolerance if wanted.dtype.itemsize > 2 else 0)
    wide, reference = result.astype(np.float64), wanted.astype(np.float64)
    close = np.allclose(wide, reference, rtol=relative, atol=1e-6, equal_nan=True)
    return [] if close else [f"{name}: differs by up to {np.nanmax(np.abs(wide - reference))}"]


def is_type_not_taken(problem: UnsupportedError) -> bool:
    return any(f"the element type {name}" in problem.message for name in TYPES_NOT_TAKEN)


@pytest.mark.parametrize("operator", OPERATORS)
def test_conformance_cases(operator: str, cases: dict[str, list[object]]) -> None:
    wrong: list[str] = []
    passed = 0
    for case in cases.get(operator, []):
        if case.name in CASES_NOT_TAKEN:
            with pytest.raises(UnsupportedError):
                differences(case)
            continue
        try:
            found = differences(case)
        except UnsupportedError as problem:
            found = [] if is_type_not_taken(problem) else [f"{case.name}: {problem}"]
        else:
            passed += 1
        wrong += found
    assert wrong == []
    assert passed > 0 or operator in WITHOUT_CASES


def test_most_cases_were_compared(cases: dict[str, list[object]]) -> None:
    names = {case.name for found in cases.values() for case in found}
    assert len(names) > 700
