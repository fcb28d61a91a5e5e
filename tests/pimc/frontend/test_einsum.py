"""Einsum against numpy and ONNX Runtime, on equations that models use and on random ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.numpy_helper import from_array
from onnx_graphs import agree, model, node, tensor

from isa import InputError
from passes import PassManager, interpret, pipeline, verify
from pimc.frontend import import_model

RANDOM = np.random.default_rng(7)
SIZES = dict(zip("abcdefgh", (2, 3, 4, 5, 2, 3, 4, 5), strict=True))


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("bqhd,bkhd->bhqk", [(2, 4, 3, 5), (2, 6, 3, 5)]),
        ("btd,dhk->bthk", [(2, 4, 6), (6, 3, 5)]),
        ("bthk,hkd->btd", [(2, 4, 3, 5), (3, 5, 6)]),
        ("i,j->ij", [(4,), (5,)]),
        ("...ij,...jk->...ik", [(2, 1, 3, 4), (2, 5, 4, 2)]),
        ("ii->i", [(4, 4)]),
        ("ii", [(4, 4)]),
        ("ij->j", [(4, 5)]),
        ("ba,ac,cd->bd", [(2, 3), (3, 4), (4, 5)]),
        ("a...,a...->...", [(3, 2, 4), (3, 2, 4)]),
        ("ab,ab->", [(3, 4), (3, 4)]),
        ("b i j , b j", [(2, 3, 4), (2, 4)]),
    ],
)
def test_equations_of_models(equation: str, shapes: list[tuple[int, ...]]) -> None:
    pytest.importorskip("onnxruntime")
    names = [f"x{index}" for index in range(len(shapes))]
    inputs = {name: floats(*shape) for name, shape in zip(names, shapes, strict=True)}
    agree([node("Einsum", names, ["y"], equation=equation)], inputs, {}, "y")


@st.composite
def equations(draw: st.DrawFn) -> str:
    """Terms of up to four different labels, and a result of some labels that occur."""
    terms = [
        draw(st.lists(st.sampled_from("abcdefgh"), max_size=4, unique=True)) for _ in range(draw(st.integers(1, 3)))
    ]
    every = sorted({label for term in terms for label in term})
    kept = draw(st.lists(st.sampled_from(every), unique=True)) if every else []
    return f"{','.join(map(''.join, terms))}->{''.join(kept)}"


@given(equations())
@settings(max_examples=150)
def test_random_equations(equation: str) -> None:
    terms = equation.partition("->")[0].split(",")
    inputs = {f"x{i}": RANDOM.integers(-3, 4, [SIZES[label] for label in term]) for i, term in enumerate(terms)}
    infos = [tensor(name, array.shape, "int64") for name, array in inputs.items()]
    graph = import_model(model([node("Einsum", list(inputs), ["y"], equation=equation)], infos, ["y"]))
    verify(graph, "imported")
    expected = np.einsum(equation, *inputs.values())
    np.testing.assert_array_equal(interpret(graph, inputs)["y"], expected)


def test_a_constant_factor_becomes_a_linear_map_for_any_length() -> None:
    made = model(
        [node("Einsum", ["x", "w"], ["y"], equation="btd,dhk->bthk")],
        [tensor("x", (1, "seq", 6))],
        ["y"],
        [from_array(floats(6, 2, 3), "w")],
    )
    graph = import_model(made)
    PassManager(pipeline("default")).run(graph)
    assert [each.op for each in graph.nodes if each.op != "reshape"] == ["linear"]


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        ("ij,jk->ik", "has 2 terms for 1 operands"),
        ("ijk->i", "does not describe an operand of rank 2"),
        ("ij->k", "the result of the equation"),
        ("ij->ii", "the result of the equation"),
        ("i$->i", "is not valid"),
        ("ii->i", "the diagonal 'i' of Einsum"),
    ],
)
def test_wrong_equations(equation: str, message: str) -> None:
    made = model([node("Einsum", ["x"], ["y"], equation=equation)], [tensor("x", (2, 3))], ["y"])
    with pytest.raises(InputError, match=message):
        import_model(made)
