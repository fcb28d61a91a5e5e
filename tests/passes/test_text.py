"""Graphs as text: a golden sample, round trips, refusals."""

from contextlib import suppress
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa import InputError
from passes import OPS, Cache, Graph, TensorType, Value, large_constants, parse_graph, print_graph
from passes.dims import Dim, symbol

SAMPLE = """\
graph "tiny \\"net\\"" {
  input %x: float32[1, seq, 4]
  cache "kv0" {kv_heads = 1, head_dim = 4, value_dim = 4, past_key = "past.0", past_value = none, \
present_key = none, present_value = none}
  signature "x": float32[1, seq, 4]
  signature "y": float32[1, past + seq, 8]
  constant %w: float32[4, 8] = sha256 "38723a2e5e8a17aa7950dc008209944e898f69a7bd10a23c839d341e935fd5ca"
  constant %half: bfloat16[] = [0.5]
  constant %flags: bool[2] = [true, false]
  %fc:0: float32[1, seq, 8] = linear(%x, %w) ; from /fc/MatMul, /fc/Add
  %"a b": float32[1, 2*seq - 1, 4], %tail: float32[1, seq, 4] = \
split(%fc:0) {axis = 2, sizes = [4, 4]} @cut ; from "odd name"
  output "y" = %fc:0
  output "half" = %half
  output "flags" = %flags
}
"""


def test_the_sample_reads_and_prints_alike() -> None:
    constants = {"w": np.zeros((4, 8), np.float32)}
    graph = parse_graph(SAMPLE, constants)
    assert print_graph(graph) == SAMPLE
    assert graph.name == 'tiny "net"'
    assert [node.name for node in graph.nodes] == ["fc", "cut"]
    assert graph.nodes[1].attributes == {"axis": 2, "sizes": (4, 4)}
    assert graph.caches["kv0"] == Cache("kv0", 1, 4, 4, "past.0")
    assert list(large_constants(graph)) == ["w"]
    assert graph.nodes[1].outputs[0].shape == (1, symbol("seq") * 2 - 1, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'graph "x" {\n  input %x: float32[1, seq\n}',
            "g.txt:3:1: error: this is not the text of a graph\n  }\n  ^\nnote: expected ',' or ']'",
        ),
        (
            'graph "x" {\n  %y: float32[1] = neg(%x)\n}',
            "g.txt:2:24: error: there is no value 'x' above\n    %y: float32[1] = neg(%x)\n                         ^",
        ),
        (
            'graph "x" {\n  constant %c: int8[2] = [1, 1000]\n}',
            "g.txt:2:12: error: an element of the constant does not fit into int8\n"
            "    constant %c: int8[2] = [1, 1000]\n             ^",
        ),
        (
            'graph "x" {\n  constant %c: bool[1] = [1]\n}',
            "g.txt:2:12: error: the elements of the constant are not bool\n"
            "    constant %c: bool[1] = [1]\n             ^",
        ),
        (
            'graph "x" {\n  constant %c: int8[3] = [1, 2]\n}',
            "g.txt:2:12: error: 'c' is said to be int8[3], but has 2 elements of int8\n"
            "    constant %c: int8[3] = [1, 2]\n             ^",
        ),
        (
            'graph "x" {\n  constant %c: int8[99] = sha256 "00"\n}',
            "g.txt:2:12: error: the contents of the constant 'c' are not given\n"
            '    constant %c: int8[99] = sha256 "00"\n             ^',
        ),
        (
            'graph "x" {\n  input %c: int9[99]\n}',
            "g.txt:2:13: error: there is no element type 'int9'\n    input %c: int9[99]\n              ^",
        ),
        (
            'graph "x" {\n  input %c: int8[9]\n  input %c: int8[9]\n}',
            "g.txt:3:9: error: the value 'c' exists already\n    input %c: int8[9]\n          ^",
        ),
    ],
)
def test_refusals_point_at_the_place(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_graph(text, file="g.txt")
    assert str(caught.value) == message


def test_another_constant_than_the_one_printed_is_refused() -> None:
    with pytest.raises(InputError, match="the given constant 'w' is another one than the text's"):
        parse_graph(SAMPLE, {"w": np.ones((4, 8), np.float32)})


NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
SYMBOLS = st.sampled_from(["seq", "past", "total_length"])
DTYPES = st.sampled_from(["float32", "float16", "bfloat16", "int64", "int8", "bool"])


@st.composite
def dims(draw: st.DrawFn) -> Dim:
    dim: Dim = draw(st.integers(0, 9))
    for name in draw(st.lists(SYMBOLS, max_size=2)):
        dim = dim + symbol(name) * draw(st.integers(-3, 3))
    return dim


@st.composite
def tensor_types(draw: st.DrawFn) -> TensorType:
    return TensorType(draw(DTYPES), tuple(draw(st.lists(dims(), max_size=3))))


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = np.dtype(draw(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    size = int(np.prod(shape, dtype=np.int64))
    raw = draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize))
    array = np.frombuffer(raw, np.uint8) % 2 == 1 if dtype.kind == "b" else np.frombuffer(raw, dtype)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(array, nan=0.25).reshape(shape) if dtype.kind in "fV" else array.reshape(shape)


ATTRIBUTES = st.recursive(
    st.one_of(dims(), st.booleans(), st.floats(allow_nan=False), NAMES, st.none()),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    graph = Graph(draw(NAMES))
    values: list[Value] = [graph.add_input(draw(NAMES), draw(tensor_types()))]
    values += [graph.add_constant(array, draw(NAMES)) for array in draw(st.lists(arrays(), max_size=3))]
    for _ in range(draw(st.integers(0, 4))):
        operands = draw(st.lists(st.one_of(st.none(), st.sampled_from(values)), max_size=3))
        types = [draw(tensor_types()) for _ in range(draw(st.integers(1, 2)))]
        attributes = draw(st.dictionaries(st.sampled_from(["axis", "shape", "to"]), ATTRIBUTES, max_size=2))
        names = draw(st.one_of(st.none(), st.lists(NAMES, min_size=len(types), max_size=len(types))))
        op, origins = draw(st.sampled_from(sorted(OPS))), draw(st.lists(NAMES, max_size=2))
        node = graph.add_node(op, operands, types, attributes, draw(NAMES), origins, names)
        values += node.outputs
    graph.outputs = {draw(NAMES): value for value in draw(st.lists(st.sampled_from(values), max_size=2))}
    graph.signature = {value.name: value.type for value in graph.inputs}
    return graph


@given(graphs())
def test_text_round_trip(graph: Graph) -> None:
    text = print_graph(graph)
    again = parse_graph(text, large_constants(graph))
    assert print_graph(again) == text
    for old, new in zip(graph.nodes, again.nodes, strict=True):
        assert (old.op, old.name, old.attributes, old.origins) == (new.op, new.name, new.attributes, new.origins)
        assert [value and value.name for value in old.inputs] == [value and value.name for value in new.inputs]
        assert [value.type for value in old.outputs] == [value.type for value in new.outputs]
    constants = {value.name: value.constant for value in graph.values() if value.constant is not None}
    for value in again.values():
        if value.constant is not None:
            assert value.constant.dtype == constants[value.name].dtype
            assert value.constant.tobytes() == constants[value.name].tobytes()


@given(st.text(max_size=60))
def test_any_text_is_a_graph_or_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_graph(text)


@given(st.data())
def test_damaged_text_never_breaks_the_parser(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SAMPLE)))
    stop = data.draw(st.integers(start, min(len(SAMPLE), start + 4)))
    damaged = SAMPLE[:start] + data.draw(st.sampled_from(["", "%", '"', "[", "1", "=", "\n", "-"])) + SAMPLE[stop:]
    with suppress(InputError):
        parse_graph(damaged, {"w": np.zeros((4, 8), np.float32)})


def test_the_grammar_lies_beside_the_parser() -> None:
    import passes.text_parser as parser

    assert Path(parser.__file__).with_name("text.lark").is_file()


def test_bfloat16_constants_keep_their_bits() -> None:
    graph = Graph("bits")
    bits = np.arange(0, 65536, 4099, dtype=np.uint16)
    finite = bits.view(ml_dtypes.bfloat16)[np.isfinite(bits.view(ml_dtypes.bfloat16).astype(np.float32))]
    graph.outputs["c"] = graph.add_constant(finite[:16], "c")
    again = parse_graph(print_graph(graph)).outputs["c"].constant
    assert again is not None
    assert again.view(np.uint16).tolist() == finite[:16].view(np.uint16).tolist()
