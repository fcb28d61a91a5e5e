"""Rotary embedding in the forms of both exporters, on both axis orders, of all or part of a head."""

from collections.abc import Callable

import numpy as np
import pytest
from tests_graphs import SEQ, Net, assert_same_meaning, operations, run_passes

from passes import Graph, Value
from passes.canonicalize import Canonicalize
from passes.common_subexpressions import CommonSubexpressions
from passes.constant_folding import ConstantFolding
from passes.dead_code import DeadCode
from passes.fuse_rotary import FuseRotary
from passes.recognition.rotary_tables import half_table, repeats

HEADS, WIDTH = 3, 8
CLEAN_UP = (ConstantFolding(), Canonicalize(), CommonSubexpressions(), DeadCode())
Tables = Callable[[Net, int], tuple[Value, Value]]


def angles(net: Net, rotated: int) -> Value:
    positions = net.op("cast", net.input("position_ids", 1, SEQ, dtype="int64"), to="float32")
    column = net.op("reshape", positions, shape=(1, SEQ, 1))
    return net.op("mul", column, net.constant(10.0 ** -np.arange(rotated // 2), name="inverse_frequency"))


def doubled_angles(net: Net, rotated: int) -> tuple[Value, Value]:
    angle = angles(net, rotated)
    both = net.op("concat", angle, angle, axis=2)
    return net.op("mul", net.op("cos", both), 1.0), net.op("sin", both)


def doubled_tables(net: Net, rotated: int) -> tuple[Value, Value]:
    angle = angles(net, rotated)
    cos, sin = net.op("cos", angle), net.op("sin", angle)
    return net.op("concat", cos, cos, axis=2), net.op("concat", sin, sin, axis=2)


def matmul_angles(net: Net, rotated: int) -> tuple[Value, Value]:
    frequency = net.constant(10.0 ** -np.arange(rotated // 2)[None, :, None], name="inverse_frequency")
    positions = net.op("cast", net.input("position_ids", 1, SEQ, dtype="int64"), to="float32")
    product = net.op("matmul", frequency, net.op("reshape", positions, shape=(1, 1, SEQ)))
    angle = net.op("transpose", product, perm=(0, 2, 1))
    both = net.op("concat", angle, angle, axis=2)
    return net.op("cos", both), net.op("sin", both)


def looked_up(net: Net, rotated: int) -> tuple[Value, Value]:
    positions = net.input("position_ids", 1, SEQ, dtype="int64")
    angle = np.arange(9)[:, None] * 10.0 ** -np.arange(rotated // 2)
    both = np.concatenate([angle, angle], axis=1)
    cos, sin = (net.op("gather", net.constant(f(both)), positions, axis=0) for f in (np.cos, np.sin))
    return cos, sin


def rotate(net: Net, x: Value, cos: Value, sin: Value, halves_by_split: bool) -> Value:
    last, half = x.type.rank - 1, x.shape[-1] // 2
    if halves_by_split:
        low, high = net.split(x, last, half, half)  # type: ignore[arg-type]
    else:
        low, high = net.cut(x, last, 0, half), net.cut(x, last, half, x.shape[-1])
    turned = net.op("concat", net.op("neg", high), low, axis=last)
    return net.op("add", net.op("mul", x, cos), net.op("mul", turned, sin))


def head_major(net: Net, tables: Tables, rotated: int, halves_by_split: bool = False) -> Graph:
    x = net.op("reshape", net.input("x", 1, SEQ, HEADS * WIDTH), shape=(1, SEQ, HEADS, WIDTH))
    x = net.op("transpose", x, perm=(0, 2, 1, 3))
    cos, sin = (net.op("reshape", table, shape=(1, 1, SEQ, rotated)) for table in tables(net, rotated))
    if rotated == WIDTH:
        net.output("y", rotate(net, x, cos, sin, halves_by_split))
    else:
        turned = rotate(net, net.cut(x, 3, 0, rotated), cos, sin, halves_by_split)
        net.output("y", net.op("concat", turned, net.cut(x, 3, rotated, WIDTH), axis=3))
    return net.graph


def token_major(net: Net, tables: Tables, rotated: int) -> Graph:
    x = net.op("reshape", net.input("x", 1, SEQ, HEADS * WIDTH), shape=(1, SEQ, HEADS, WIDTH))
    cos, sin = (net.op("reshape", table, shape=(1, SEQ, 1, rotated)) for table in tables(net, rotated))
    net.output("y", net.op("reshape", rotate(net, x, cos, sin, False), shape=(1, SEQ, HEADS * WIDTH)))
    return net.graph


@pytest.mark.parametrize("tables", [doubled_angles, doubled_tables, matmul_angles, looked_up])
@pytest.mark.parametrize("rotated", [WIDTH, 4])
@pytest.mark.parametrize("halves_by_split", [False, True])
def test_head_major(tables: Tables, rotated: int, halves_by_split: bool) -> None:
    after = assert_same_meaning(
        lambda: head_major(Net(), tables, rotated, halves_by_split),
        *CLEAN_UP, FuseRotary(), *CLEAN_UP,
        numbers={"seq": 5},
        tolerance=1e-6,
    )  # fmt: skip
    rotary = next(node for node in after.nodes if node.op == "rotary")
    assert operations(after)[-3:] == ["rotary", "reshape", "transpose"]
    assert rotary.attributes == {"heads": HEADS, "interleaved": False}
    assert [v.shape for v in rotary.inputs if v] == [(1, SEQ, HEADS * WIDTH), *[(1, SEQ, rotated // 2)] * 2]
    assert "concat" not in operations(after)
    assert "matmul" not in operations(after)


def test_token_major() -> None:
    after = assert_same_meaning(
        lambda: token_major(Net(), doubled_angles, WIDTH),
        *CLEAN_UP, FuseRotary(), *CLEAN_UP,
        numbers={"seq": 5},
        tolerance=1e-6,
    )  # fmt: skip
    assert operations(after)[-1] == "rotary"
    assert "transpose" not in operations(after)


def single_token() -> Graph:
    net = Net()
    x = net.op("reshape", net.input("x", 1, 1, HEADS * WIDTH), shape=(1, 1, HEADS, WIDTH))
    x = net.op("transpose", x, perm=(0, 2, 1, 3))
    position = net.op("reshape", net.input("position", 1, 1), shape=(1, 1, 1, 1))
    angle = net.op("mul", position, net.constant(10.0 ** -np.arange(WIDTH // 2)))
    both = net.op("concat", angle, angle, axis=3)
    turned = rotate(net, x, net.op("cos", both), net.op("sin", both), False)
    net.output("y", net.op("reshape", net.op("transpose", turned, perm=(0, 2, 1, 3)), shape=(1, 1, HEADS * WIDTH)))
    return net.graph


def test_one_token_has_no_transposes_at_all() -> None:
    after = assert_same_meaning(single_token, *CLEAN_UP, FuseRotary(), *CLEAN_UP, tolerance=1e-6)
    assert operations(after)[-1] == "rotary"
    assert after.nodes[-1].attributes["heads"] == HEADS


def unequal_halves(net: Net, rotated: int) -> tuple[Value, Value]:
    angle = angles(net, rotated)
    both = net.op("concat", angle, net.op("mul", angle, 2.0), axis=2)
    return net.op("cos", both), net.op("sin", both)


def unequal_table(net: Net, rotated: int) -> tuple[Value, Value]:
    positions = net.input("position_ids", 1, SEQ, dtype="int64")
    table = net.weights(9, rotated)
    return net.op("gather", table, positions, axis=0), net.op("gather", table, positions, axis=0)


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        (unequal_halves, "the halves of the rotary tables are not provably equal"),
        (unequal_table, "the halves of the rotary tables are not provably equal"),
    ],
)
def test_tables_that_are_no_rotary_tables(tables: Tables, reason: str) -> None:
    graph = run_passes(head_major(Net(), tables, WIDTH), *CLEAN_UP)
    assert not FuseRotary().run(graph)
    assert [why for _, why in graph.facts["fuse_rotary"]["unfused"]] == [reason]


@pytest.mark.parametrize(
    "change",
    [
        lambda net, x, low, high: net.op("concat", net.op("neg", low), high, axis=3),
        lambda net, x, low, high: net.op("concat", high, low, axis=3),
        lambda net, x, low, high: net.op("concat", net.op("neg", net.cut(x, 3, 2, 8)), net.cut(x, 3, 0, 2), axis=3),
    ],
)
def test_other_rearrangements_are_left(change: Callable[[Net, Value, Value, Value], Value]) -> None:
    net = Net()
    x = net.input("x", 1, HEADS, SEQ, WIDTH)
    cos, sin = (net.op("reshape", table, shape=(1, 1, SEQ, WIDTH)) for table in doubled_angles(net, WIDTH))
    turned = change(net, x, net.cut(x, 3, 0, 4), net.cut(x, 3, 4, 8))
    net.output("y", net.op("add", net.op("mul", x, cos), net.op("mul", turned, sin)))
    run_passes(net.graph, *CLEAN_UP)
    assert not FuseRotary().run(net.graph)


def test_another_value_times_the_cosine_is_left() -> None:
    net = Net()
    x, other = net.input("x", 1, HEADS, SEQ, WIDTH), net.input("other", 1, HEADS, SEQ, WIDTH)
    cos, sin = (net.op("reshape", table, shape=(1, 1, SEQ, WIDTH)) for table in doubled_angles(net, WIDTH))
    turned = net.op("concat", net.op("neg", net.cut(x, 3, 4, 8)), net.cut(x, 3, 0, 4), axis=3)
    net.output("y", net.op("add", net.op("mul", other, cos), net.op("mul", turned, sin)))
    run_passes(net.graph, *CLEAN_UP)
    assert not FuseRotary().run(net.graph)
    reasons = [why for _, why in net.graph.facts["fuse_rotary"]["unfused"]]
    assert reasons == ["the cosine does not multiply the value that is rotated"]


def test_the_same_angle_for_all_tokens_is_left() -> None:
    net = Net()
    x = net.input("x", 1, HEADS, SEQ, WIDTH)
    table = net.constant(np.ones((1, 1, 1, WIDTH)))
    net.output("y", rotate(net, x, table, table, False))
    assert not FuseRotary().run(net.graph)
    assert [why for _, why in net.graph.facts["fuse_rotary"]["unfused"]] == [
        "the rotary table is not one row for each token"
    ]


def neighbours_turned(net: Net, x: Value) -> Value:
    *front, width = x.shape
    even, odd = (net.cut(x, 3, start, width, 2) for start in (0, 1))
    columns = [net.op("reshape", part, shape=(*front, width // 2, 1)) for part in (net.op("neg", odd), even)]
    return net.op("reshape", net.op("concat", *columns, axis=4), shape=x.shape)


def each_twice(net: Net, table: Value) -> Value:
    width = table.shape[-1]
    column = net.op("expand", net.op("reshape", table, shape=(1, SEQ, width, 1)), shape=(1, SEQ, width, 2))
    return net.op("reshape", column, shape=(1, 1, SEQ, 2 * width))


def each_twice_under_a_unit_axis(net: Net, table: Value) -> Value:
    """What tiling by (1, 1, 2, 1) becomes."""
    width = table.shape[-1]
    column = net.op("reshape", table, shape=(1, SEQ, 1, width, 1, 1))
    return net.op("reshape", net.op("expand", column, shape=(1, SEQ, 1, width, 2, 1)), shape=(1, 1, SEQ, 2 * width))


def each_stacked(net: Net, table: Value) -> Value:
    column = net.op("reshape", table, shape=(1, SEQ, table.shape[-1], 1))
    return net.op("reshape", net.op("concat", column, column, axis=3), shape=(1, 1, SEQ, 2 * table.shape[-1]))


Twice = Callable[[Net, Value], Value]


def interleaved(rotated: int, neighbours_equal: bool = True, twice: Twice = each_twice) -> Graph:
    net = Net()
    x = net.op("reshape", net.input("x", 1, SEQ, HEADS * WIDTH), shape=(1, SEQ, HEADS, WIDTH))
    x = net.op("transpose", x, perm=(0, 2, 1, 3))
    angle = angles(net, rotated)
    if neighbours_equal:
        cos, sin = (twice(net, net.op(name, angle)) for name in ("cos", "sin"))
    else:
        both = net.op("reshape", net.op("concat", angle, angle, axis=2), shape=(1, 1, SEQ, rotated))
        cos, sin = net.op("cos", both), net.op("sin", both)
    part = x if rotated == WIDTH else net.cut(x, 3, 0, rotated)
    mixed = net.op("add", net.op("mul", part, cos), net.op("mul", neighbours_turned(net, part), sin))
    if rotated != WIDTH:
        mixed = net.op("concat", mixed, net.cut(x, 3, rotated, WIDTH), axis=3)
    net.output("y", net.op("reshape", net.op("transpose", mixed, perm=(0, 2, 1, 3)), shape=(1, SEQ, HEADS * WIDTH)))
    return net.graph


@pytest.mark.parametrize("twice", [each_twice, each_twice_under_a_unit_axis, each_stacked])
@pytest.mark.parametrize("rotated", [WIDTH, 4])
def test_neighbours(rotated: int, twice: Twice) -> None:
    steps = (*CLEAN_UP, FuseRotary(), *CLEAN_UP)
    after = assert_same_meaning(lambda: interleaved(rotated, twice=twice), *steps, numbers={"seq": 5}, tolerance=1e-6)
    assert operations(after)[-1] == "rotary"
    assert after.nodes[-1].attributes == {"heads": HEADS, "interleaved": True}
    assert {"transpose", "concat", "expand", "slice"}.isdisjoint(operations(after))


@pytest.mark.parametrize("rotated", [WIDTH, 4])
@pytest.mark.parametrize("place", [0, 1])
def test_a_head_inside_a_joint_projection(rotated: int, place: int) -> None:
    """Query or key of [S, H, 3 * D], cut out by parts, where slices of slices became one."""

    def build() -> Graph:
        net = Net()
        first = place * WIDTH
        x = net.op("reshape", net.input("x", 1, SEQ, HEADS * 3 * WIDTH), shape=(1, SEQ, HEADS, 3 * WIDTH))
        x = net.op("transpose", x, perm=(0, 2, 1, 3))
        cos, sin = (net.op("reshape", t, shape=(1, 1, SEQ, rotated)) for t in doubled_angles(net, rotated))
        head = net.cut(x, 3, first, first + WIDTH)
        turned = rotate(net, net.cut(head, 3, 0, rotated) if rotated < WIDTH else head, cos, sin, False)
        rest = [net.cut(head, 3, rotated, WIDTH)] if rotated < WIDTH else []
        net.output("y", net.op("concat", turned, *rest, axis=3) if rest else turned)
        return net.graph

    after = assert_same_meaning(build, *CLEAN_UP, FuseRotary(), *CLEAN_UP, numbers={"seq": 5}, tolerance=1e-6)
    assert operations(after).count("rotary") == 1
    assert {"neg", "concat"}.isdisjoint(operations(after))


def test_neighbours_with_a_table_by_halves_are_left() -> None:
    graph = run_passes(interleaved(WIDTH, neighbours_equal=False), *CLEAN_UP)
    assert not FuseRotary().run(graph)
    reasons = [why for _, why in graph.facts["fuse_rotary"]["unfused"]]
    assert reasons == ["the halves of the rotary tables are not provably equal"]


def test_constant_tables_are_halved_in_both_arrangements() -> None:
    net = Net()
    halves, pairs = net.constant([[1.0, 2.0, 1.0, 2.0]]), net.constant([[1.0, 1.0, 2.0, 2.0]])
    for table, by_pairs in ((halves, False), (pairs, True)):
        assert repeats(table, by_pairs)
        assert not repeats(table, not by_pairs)
        half = half_table(net.graph, table, by_pairs).constant
        assert half is not None
        assert half.tolist() == [[1.0, 2.0]]
