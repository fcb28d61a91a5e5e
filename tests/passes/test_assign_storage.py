import numpy as np
import pytest
from tests_graphs import SEQ, Net, run_passes

from passes import Graph
from passes.assign_storage import AssignStorage, Storage

ROWS, WIDTH = 64, 8


def model(tie: str, rows: int = ROWS) -> Graph:
    """Embedding, norm and head; the head is the embedding's transpose (`view`, `copy`) or its own."""
    net = Net()
    table = net.weights(rows, WIDTH, name="embedding")
    assert table.constant is not None
    ids = net.input("ids", 1, SEQ, dtype="int64")
    x = net.op("layer_norm", net.op("gather", table, ids, axis=0), net.weights(WIDTH, name="norm"), epsilon=1e-5)
    head = {
        "view": lambda: table.constant.T,  # type: ignore[union-attr]
        "copy": lambda: np.ascontiguousarray(table.constant.T),  # type: ignore[union-attr]
        "other": lambda: np.ascontiguousarray(table.constant.T) + np.float32(1),  # type: ignore[union-attr]
    }[tie]()
    net.output("y", net.op("linear", x, net.graph.add_constant(head, "head"), net.weights(rows, name="bias")))
    return net.graph


@pytest.mark.parametrize("tie", ["view", "copy"])
def test_a_tied_head_is_the_table(tie: str) -> None:
    graph = run_passes(model(tie), AssignStorage())
    assert graph.facts["assign_storage"] == {
        "embedding": Storage("bank", "bfloat16", "table"),
        "norm": Storage("sb", "float32", "vector"),
        "head": Storage("bank", "bfloat16", "matrix", tied_to="embedding"),
        "bias": Storage("sb", "float32", "vector"),
    }


def test_a_small_table_of_its_own_is_a_vector() -> None:
    graph = run_passes(model("other"), AssignStorage())
    assert graph.facts["assign_storage"]["embedding"] == Storage("sb", "float32", "vector")
    assert graph.facts["assign_storage"]["head"] == Storage("bank", "bfloat16", "matrix")
    run_passes(graph, AssignStorage(largest_shared_words=100))
    assert graph.facts["assign_storage"]["embedding"] == Storage("bank", "bfloat16", "table")


def test_integers_and_unused_kinds() -> None:
    net = Net()
    x = net.input("x", 1, SEQ, WIDTH)
    numbers = net.constant([1, 0], "int64", "numbers")
    net.output("y", net.op("linear", net.op("gather", x, numbers, axis=2), net.weights(2, 3, name="w")))
    net.output("z", net.op("feed_forward", x, net.weights(WIDTH, 5, name="up"), None, None, None,
                           net.weights(5, WIDTH, name="down"), None, activation="relu"))  # fmt: skip
    run_passes(net.graph, AssignStorage())
    roles = {name: (s.space, s.dtype, s.role) for name, s in net.graph.facts["assign_storage"].items()}
    assert roles == {
        "numbers": ("sb", "int32", "vector"),
        "w": ("bank", "bfloat16", "matrix"),
        "up": ("bank", "bfloat16", "matrix"),
        "down": ("bank", "bfloat16", "matrix"),
    }
