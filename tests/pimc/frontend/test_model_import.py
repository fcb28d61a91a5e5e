"""Dimensions, shape arithmetic, learnt equalities and refusals of the ONNX import."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import ints, model, node, scalar, tensor

from isa import GraphError, InputError, PimcError, UnsupportedError
from passes import Graph, interpret, print_graph, verify
from pimc.frontend import import_model


def imported(*arguments, dims: dict[str, int] | None = None, **options) -> Graph:
    graph = import_model(model(*arguments, **options), dims)
    verify(graph, "imported")
    return graph


def types(graph: Graph) -> dict[str, str]:
    return {name: str(kind) for name, kind in graph.signature.items()}


def identity(*shape: int | str | None, dims: dict[str, int] | None = None) -> Graph:
    return imported([node("Neg", ["x"], ["y"])], [tensor("x", shape)], ["y"], dims=dims)


def test_dimension_texts_are_affine_expressions() -> None:
    graph = identity("N", "past_sequence_length + sequence_length", "2*a - 1", "n//2", None, 4)
    assert types(graph)["y"] == "float32[N, past_sequence_length + sequence_length, 2*a - 1, n__2, x_axis4, 4]"


@pytest.mark.parametrize(
    ("shape", "dims", "expected"),
    [
        (("batch", "seq"), {}, "float32[1, seq]"),
        (("batch_size", "seq"), {"seq": 5}, "float32[1, 5]"),
        (("batch", "seq"), {"batch": 3}, "float32[3, seq]"),
        (("seq", "batch"), {}, "float32[seq, batch]"),
        (("N", "seq"), {}, "float32[N, seq]"),
    ],
)
def test_bound_and_default_dimensions(shape: tuple[str, ...], dims: dict[str, int], expected: str) -> None:
    assert types(identity(*shape, dims=dims))["y"] == expected


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        (
            {"sequence": 3},
            "net: error: the model has no dimension 'sequence'\nnote: its dimensions: batch, seq_length\n"
            "help: did you mean 'seq_length'?",
        ),
        ({"q": 3}, "net: error: the model has no dimension 'q'\nnote: its dimensions: batch, seq_length"),
        ({"batch": -1}, "net: error: the dimension 'batch' cannot be -1"),
    ],
)
def test_wrong_bindings(dims: dict[str, int], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        identity("batch", "seq_length", dims=dims)
    assert str(caught.value) == expected


def test_all_unsupported_operators_are_reported_at_once() -> None:
    nodes = [
        node("Neg", ["x"], ["a"]),
        node("NonZero", ["a"], ["b"], "/find/NonZero"),
        *(node("Mystery", ["a"], [f"m{i}"], f"/layer.{i}/Mystery", domain="com.example") for i in range(9)),
        node("NonZero", ["a"], ["unused"], "/dead/NonZero"),
        node("Sum", ["a", *(f"m{i}" for i in range(9))], ["y"]),
    ]
    with pytest.raises(UnsupportedError) as caught:
        imported(nodes, [tensor("x", (2, 2))], ["y", "b"], opsets={"": 20, "com.example": 3})
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        "net: error: 10 of 12 nodes have operators that are not supported\n"
        "note: operator  domain       operator set  nodes  which\n"
        "note: NonZero   ai.onnx      20            1      /find/NonZero\n"
        f"note: Mystery   com.example  3             9      {', '.join(f'/layer.{i}/Mystery' for i in range(8))}"
        " and 1 more\n"
        f"note: all 9 nodes of Mystery: {', '.join(f'/layer.{i}/Mystery' for i in range(9))}\n"
        "note: NonZero: computed at compile time only: operands may not depend on the inputs\n"
        "help: write these parts of the model with supported operators (docs/operators.md) and export it again, or cut"
        " the model before them (onnx.utils.extract_model)"
    )


def test_shape_arithmetic_becomes_attributes() -> None:
    """Reshape(x, [Shape(x)[0], -1, Shape(x)[1] * 2 / 2]) and a range up to past + seq."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"]),
        node("Gather", ["shape", "one"], ["length"]),
        node("Mul", ["length", "two"], ["doubled"]),
        node("Div", ["doubled", "two"], ["again"]),
        node("Unsqueeze", ["n", "front"], ["n1"]),
        node("Unsqueeze", ["again", "front"], ["again1"]),
        node("Concat", ["n1", "rest", "again1"], ["wanted"], axis=0),
        node("Reshape", ["x", "wanted"], ["y"]),
        node("Shape", ["cache"], ["cached"], start=0, end=1),
        node("Squeeze", ["cached"], ["past"]),
        node("Add", ["past", "length"], ["total"]),
        node("Range", ["past", "total", "one"], ["positions"]),
    ]
    weights = [scalar("zero", 0), scalar("one", 1), scalar("two", 2), ints("front", 0), ints("rest", -1)]
    inputs = [tensor("x", (3, "seq", 6)), tensor("cache", ("past", 6))]
    graph = imported(nodes, inputs, ["y", "positions"], weights)
    assert types(graph)["y"] == "float32[3, 6, seq]"
    assert types(graph)["positions"] == "int64[seq]"
    assert [repr(node) for node in graph.nodes] == ["reshape '/y'", "range '/positions'"]
    assert {name: str(value) for name, value in graph.nodes[1].attributes.items()} == {
        "start": "past",
        "stop": "past + seq",
        "step": "1",
        "to": "int64",
    }


def test_the_exporters_expand_detour_disappears() -> None:
    """Where(Equal(shape, -1), ones, shape) is the shape, since no length is -1."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Shape", ["shape"], ["rank"]),
        node("ConstantOfShape", ["rank"], ["ones"], value=helper.make_tensor("one", TensorProto.INT64, [1], [1])),
        node("Mul", ["ones", "minus_one"], ["minus_ones"]),
        node("Equal", ["shape", "minus_ones"], ["is_minus_one"]),
        node("Where", ["is_minus_one", "ones", "shape"], ["wanted"]),
        node("Expand", ["c", "wanted"], ["y"]),
    ]
    weights = [scalar("minus_one", -1), numpy_helper.from_array(np.ones((1, 1), np.float32), "c")]
    graph = imported(nodes, [tensor("x", ("seq", "past + seq"))], ["y"], weights)
    assert [node.op for node in graph.nodes] == ["expand"]
    assert types(graph)["y"] == "float32[seq, past + seq]"


def test_equal_lengths_are_learnt_where_a_mask_meets_scores() -> None:
    nodes = [node("Concat", ["cache", "new"], ["keys"], axis=0), node("Add", ["keys", "mask"], ["y"])]
    inputs = [tensor("mask", ("s53", 1)), tensor("cache", ("past", 4)), tensor("new", ("seq", 4))]
    graph = imported(nodes, inputs, ["y"])
    assert types(graph) == {
        "mask": "float32[past + seq, 1]",
        "cache": "float32[past, 4]",
        "new": "float32[seq, 4]",
        "y": "float32[past + seq, 4]",
    }
    arrays = {"mask": np.ones((5, 1), np.float32), "cache": np.zeros((2, 4), np.float32)}
    assert interpret(graph, {**arrays, "new": np.zeros((3, 4), np.float32)})["y"].shape == (5, 4)
    with pytest.raises(InputError, match=r"'mask' axis 0 has 5 elements, but must have past \+ seq = 6"):
        interpret(graph, {**arrays, "new": np.zeros((4, 4), np.float32)})


@pytest.mark.parametrize(("first", "second", "kept"), [("seq", "s7", "seq"), ("s7", "seq", "seq"), ("a", "b", "a")])
def test_of_two_equal_symbols_the_named_and_first_one_stays(first: str, second: str, kept: str) -> None:
    graph = imported([node("Add", ["p", "q"], ["y"])], [tensor("p", (first,)), tensor("q", (second,))], ["y"])
    assert set(types(graph).values()) == {f"float32[{kept}]"}


def test_a_symbol_is_never_guessed_from_a_number() -> None:
    with pytest.raises(UnsupportedError) as caught:
        imported([node("Add", ["p", "q"], ["y"], "/Add")], [tensor("p", ("seq",)), tensor("q", (128,))], ["y"])
    assert str(caught.value) == (
        "net: node '/Add': error: broadcasting [seq] and [128] needs seq = 128, which does not hold for all lengths\n"
        "note: Add reads 'p' float32[seq], 'q' float32[128]\n"
        "help: bind the dimensions that it depends on: --dim seq=N"
    )


def test_a_length_is_not_set_to_zero_to_make_shapes_fit() -> None:
    with pytest.raises(UnsupportedError, match="needs past \\+ seq = seq, which does not hold for all lengths"):
        imported([node("Add", ["p", "q"], ["y"])], [tensor("p", ("past + seq",)), tensor("q", ("seq",))], ["y"])


def test_a_table_of_positions_bounds_the_lengths() -> None:
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["length"]),
        node("Range", ["zero", "length", "one"], ["positions"]),
        node("Gather", ["table", "positions"], ["y"], "/wpe"),
    ]
    table = numpy_helper.from_array(np.zeros((16, 4), np.float32), "table")
    graph = imported(nodes, [tensor("x", ("seq",))], ["y"], [scalar("zero", 0), scalar("one", 1), table])
    (demand,) = graph.facts["frontend"].demands
    assert (demand.larger, str(demand.smaller), demand.node) == (16, "seq", "/wpe")
    with pytest.raises(GraphError, match="out of bounds"):
        interpret(graph, {"x": np.zeros(17, np.float32)})


def sliced(shape: tuple[int | str, ...], start: int, end: int, step: int = 1) -> Graph:
    weights = [ints("start", start), ints("end", end), ints("axis", 0), ints("step", step)]
    nodes = [node("Slice", ["x", "start", "end", "axis", "step"], ["y"])]
    return imported(nodes, [tensor("x", shape)], ["y"], weights)


@pytest.mark.parametrize(
    ("start", "end", "step", "expected"),
    [
        (0, 2**63 - 1, 1, "seq"),
        (-1, 2**31 - 1, 1, "1"),
        (-3, -1, 1, "2"),
        (1, 2**63 - 1, 1, "seq - 1"),
        (0, -1, 1, "seq - 1"),
        (2, 4, 1, "2"),
        (-1, -(2**63), -1, "seq"),
    ],
)
def test_slices_of_symbolic_axes(start: int, end: int, step: int, expected: str) -> None:
    graph = sliced(("seq",), start, end, step)
    assert types(graph)["y"] == f"float32[{expected}]"
    x = np.arange(7, dtype=np.float32)
    np.testing.assert_array_equal(interpret(graph, {"x": x})["y"], x[start : None if end < -10 else end : step])


def test_a_slice_beyond_a_symbolic_axis_is_demanded_and_checked() -> None:
    graph = sliced(("seq",), 2, 4)
    assert [(str(d.larger), d.smaller) for d in graph.facts["frontend"].demands] == [("seq", 2), ("seq", 4)]
    with pytest.raises(GraphError, match="part 2:4:1 does not lie within 3 elements"):
        interpret(graph, {"x": np.zeros(3, np.float32)})


def test_shapes_from_data_are_refused_with_the_node() -> None:
    nodes = [node("Reshape", ["x", "s"], ["y"], "/Reshape")]
    with pytest.raises(UnsupportedError) as caught:
        imported(nodes, [tensor("x", (4, "seq")), tensor("s", (2,), "int64")], ["y"])
    assert str(caught.value) == (
        "net: node '/Reshape': error: cannot find the shape of Reshape at compile time: computed from data, or not"
        " affine in the dimensions\n"
        "note: Reshape reads 'x' float32[4, seq], 's' int64[2]\n"
        "help: bind what it depends on: --bind s=VALUE"
    )


@pytest.mark.parametrize(
    ("nodes", "weights", "expected"),
    [
        (
            [node("MatMul", ["x", "w"], ["y"], "/mm")],
            [numpy_helper.from_array(np.zeros((5, 2), np.float32), "w")],
            "net: node '/mm': error: the matrix product of float32[seq, 4] and float32[5, 2] needs 4 = 5: the model is"
            " inconsistent\nnote: MatMul reads 'x' float32[seq, 4], 'w' float32[5, 2]",
        ),
        (
            [node("Add", ["x", "nothing"], ["y"], "/add")],
            [],
            "net: error: the tensor 'nothing' is read before anything computes it",
        ),
        (
            [node("Transpose", ["x"], ["y"], "/t", perm=[0, 0])],
            [],
            "net: node '/t': error: [0, 0] is not a permutation of the axes of a tensor of rank 2\n"
            "note: Transpose reads 'x' float32[seq, 4]",
        ),
        (
            [node("Softmax", ["x"], ["y"], "/s", axis=7)],
            [],
            "net: node '/s': error: axis 7 does not exist in a tensor of rank 2\n"
            "note: Softmax reads 'x' float32[seq, 4]",
        ),
        (
            [node("Reshape", ["x", "shape"], ["y"], "/r")],
            [ints("shape", 0, 3)],
            "net: node '/r': error: [seq, 4] elements cannot take the shape [seq, 3]\n"
            "note: Reshape reads 'x' float32[seq, 4], 'shape' int64[2]",
        ),
        (
            [node("Flatten", ["cube"], ["y"], "/f", axis=2)],
            [],
            "net: node '/f': error: the dimension [seq, past] / [] is not affine\n"
            "note: Flatten reads 'cube' float32[seq, past, 2]\n"
            "help: bind the dimensions that it depends on: --dim past=N --dim seq=N",
        ),
    ],
)
def test_models_that_are_refused(nodes, weights, expected: str) -> None:
    with pytest.raises(PimcError) as caught:
        imported(nodes, [tensor("x", ("seq", 4)), tensor("cube", ("seq", "past", 2))], ["y"], weights)
    assert str(caught.value) == expected


def test_axes_as_attribute_and_as_operand_mean_the_same() -> None:
    old = imported([node("ReduceMean", ["x"], ["y"], axes=[-1])], [tensor("x", ("seq", 4))], ["y"], opsets={"": 13})
    inputs = [tensor("x", ("seq", 4))]
    new = imported([node("ReduceMean", ["x", "axes"], ["y"])], inputs, ["y"], [ints("axes", -1)], opsets={"": 18})
    assert print_graph(old) == print_graph(new)


def test_names_are_made_up_where_the_model_has_none() -> None:
    nodes = [helper.make_node("Neg", ["x"], ["a"]), helper.make_node("Abs", ["a"], ["y"])]
    graph = imported(nodes, [tensor("x", (2,))], ["y"])
    assert [node.origins for node in graph.nodes] == [("Neg_0",), ("Abs_1",)]


def test_outputs_may_be_inputs_or_constants() -> None:
    nodes = [node("Identity", ["x"], ["same"]), node("Shape", ["x"], ["shape"]), node("Identity", ["one"], ["c"])]
    graph = imported(nodes, [tensor("x", (3, "seq"))], ["same", "shape", "c"], [scalar("one", 1)])
    results = interpret(graph, {"x": np.zeros((3, 2), np.float32)})
    assert results["shape"].tolist() == [3, 2]
    assert results["c"] == 1
    assert results["same"].shape == (3, 2)


def test_a_weight_that_is_also_an_input_is_a_weight() -> None:
    weight = numpy_helper.from_array(np.ones(2, np.float32), "w")
    graph = imported([node("Add", ["x", "w"], ["y"])], [tensor("x", (2,)), tensor("w", (2,))], ["y"], [weight])
    assert [value.name for value in graph.inputs] == ["x"]


def test_an_input_that_is_no_tensor_is_refused() -> None:
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    with pytest.raises(UnsupportedError) as caught:
        imported([node("Identity", ["x"], ["y"])], [sequence], ["y"])
    assert str(caught.value) == (
        "net: node 'x': error: the input 'x' is not a tensor of known rank\nhelp: export the model with typed inputs"
    )


def test_local_functions_are_inlined() -> None:
    twice = helper.make_function(
        "local", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 20)]
    )
    nodes, opsets = [node("Twice", ["x"], ["y"], domain="local")], {"": 20, "local": 1}
    proto = model(nodes, [tensor("x", ("seq",))], ["y"], opsets=opsets)
    proto.functions.append(twice)
    graph = import_model(proto)
    assert interpret(graph, {"x": np.ones(3, np.float32)})["y"].tolist() == [2, 2, 2]


def branching(condition: list[object], weights: list[object], inputs: list[object]) -> Graph:
    """If the condition holds -x, else x + 1."""
    one = numpy_helper.from_array(np.ones((), np.float32), "one_more")
    negated = helper.make_graph([node("Neg", ["x"], ["a"], "/then/Neg")], "then", [], [tensor("a", None)])
    raised = helper.make_graph([node("Add", ["x", "one_more"], ["b"])], "else", [], [tensor("b", None)], [one])
    choice = node("If", ["condition"], ["y"], "/If", then_branch=negated, else_branch=raised)
    return imported([*condition, choice], [tensor("x", ("seq", 1)), *inputs], ["y"], weights)


@pytest.mark.parametrize(("width", "expected"), [(1, -3.0), (2, 4.0)])
def test_a_branch_that_shapes_decide(width: int, expected: float) -> None:
    """As exporters write `squeeze`: If(Equal(Shape(x)[1], 1))."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "axis"], ["size"]),
        node("Equal", ["size", "width"], ["condition"]),
    ]
    graph = branching(nodes, [scalar("axis", 1), scalar("width", width)], [])
    assert len(graph) == 1
    assert interpret(graph, {"x": np.full((2, 1), 3, np.float32)})["y"].tolist() == [[expected], [expected]]


def test_a_branch_that_data_decide_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        branching([], [], [tensor("condition", (), "bool")])
    assert str(caught.value) == (
        "net: node '/If': error: the condition of If is not known at compile time\nnote: If reads 'condition' bool[]\n"
        "help: bind what it depends on: --bind condition=VALUE; or export one model for each case"
    )


def test_unsupported_operators_inside_branches_are_reported() -> None:
    inner = helper.make_graph([node("NonZero", ["x"], ["a"], "/then/NonZero")], "then", [], [tensor("a", None)])
    choice = node("If", ["condition"], ["y"], "/If", then_branch=inner, else_branch=inner)
    with pytest.raises(UnsupportedError, match="/then/NonZero, /then/NonZero"):
        imported([choice], [tensor("x", (2,)), tensor("condition", (), "bool")], ["y"])
