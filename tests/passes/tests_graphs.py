"""Graphs for the tests of the passes, written operation by operation, and comparison of their meaning."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from passes import Graph, TensorType, Value, interpret
from passes.canonical.arithmetic import broadcast_shape
from passes.dims import Dim, bind, symbol
from passes.manager import Pass, PassManager

SEQ, PAST = symbol("seq"), symbol("past")
TOTAL = PAST + SEQ
Array = NDArray[Any]

_LOGIC = ("equal", "less", "less_equal", "greater", "greater_equal", "and", "or", "not", "is_nan")


class Net:
    """A graph under construction; operations infer their result types."""

    def __init__(self, seed: int = 0) -> None:
        self.graph = Graph("test")
        self._random = np.random.default_rng(seed)

    def input(self, name: str, *shape: Dim, dtype: str = "float32") -> Value:
        kind = TensorType(dtype, shape)
        self.graph.signature[name] = kind
        return self.graph.add_input(name, kind)

    def output(self, name: str, value: Value) -> None:
        self.graph.signature[name] = value.type
        self.graph.outputs[name] = value

    def constant(self, content: Any, dtype: str = "float32", name: str = "c") -> Value:
        return self.graph.add_constant(np.asarray(content, dtype), name)

    def weights(self, *shape: int, name: str = "w") -> Value:
        scale = 1 / np.sqrt(shape[0])
        return self.graph.add_constant((self._random.standard_normal(shape) * scale).astype(np.float32), name)

    def op(self, op: str, *operands: Value | float | None, **attributes: Any) -> Value:
        """Append a node; numbers become constants of the first tensor operand's type."""
        dtype = next((v.type.dtype for v in operands if isinstance(v, Value)), "float32")
        values = [self.constant(v, dtype) if isinstance(v, int | float) else v for v in operands]
        types = _infer(op, [v for v in values if v is not None], attributes)
        return self.graph.add_node(op, values, types, attributes, origins=(f"onnx/{op}_{len(self.graph)}",)).output

    def split(self, x: Value, axis: int, *sizes: int) -> list[Value]:
        shapes = [(*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in sizes]
        types = [TensorType(x.type.dtype, shape) for shape in shapes]
        return self.graph.add_node("split", [x], types, {"axis": axis, "sizes": sizes}).outputs

    def cut(self, x: Value, axis: int, start: Dim, stop: Dim, step: int = 1) -> Value:
        return self.op("slice", x, axis=axis, start=start, stop=stop, step=step)


def _infer(op: str, values: Sequence[Value], attributes: Mapping[str, Any]) -> list[TensorType]:
    first = values[0].type if values else TensorType("int64", ())
    shape: tuple[Dim, ...] = first.shape
    dtype = "bool" if op in _LOGIC else values[1].type.dtype if op == "where" else first.dtype
    if op in ("reshape", "expand"):
        shape = attributes["shape"]
    elif op == "transpose":
        shape = tuple(first.shape[axis] for axis in attributes["perm"])
    elif op == "cast":
        dtype = attributes["to"]
    elif op == "slice":
        axis, span = attributes["axis"], attributes["stop"] - attributes["start"]
        shape = (*shape[:axis], span if attributes["step"] == 1 else -(-span // attributes["step"]), *shape[axis + 1 :])
    elif op == "concat":
        axis = attributes["axis"]
        shape = (*shape[:axis], sum((v.shape[axis] for v in values), start=0), *shape[axis + 1 :])
    elif op == "gather":
        axis = attributes["axis"]
        shape = (*shape[:axis], *values[1].shape, *shape[axis + 1 :])
    elif op == "range":
        dtype, shape = attributes["to"], (attributes["stop"] - attributes["start"],)
    elif op == "reduce_mean":
        shape = tuple(1 if axis in attributes["axes"] else size for axis, size in enumerate(shape))
    elif op == "matmul":
        batch = max(values[0].shape[:-2], values[1].shape[:-2], key=len)
        shape = (*batch, values[0].shape[-2], values[1].shape[-1])
    elif op == "linear":
        shape = (*shape[:-1], values[1].shape[-1])
    elif op != "feed_forward":
        shape = broadcast_shape(list(values)) or ()  # type: ignore[assignment]
    return [TensorType(dtype, shape)]


def random_inputs(graph: Graph, numbers: Mapping[str, int], seed: int = 0) -> dict[str, Array]:
    """Inputs at the given lengths: floats normal, bool and integers 0 or 1 (the first key always 1)."""
    generator = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for value in graph.inputs:
        shape = tuple(int(bind(dim, numbers)) for dim in value.shape)  # type: ignore[call-overload]
        if value.type.dtype.startswith("float"):
            inputs[value.name] = generator.standard_normal(shape).astype(value.type.dtype)
        else:
            inputs[value.name] = generator.integers(0, 2, shape).astype(value.type.dtype)
            inputs[value.name][..., :1] = 1
    return inputs


def run_passes(graph: Graph, *passes: Pass) -> Graph:
    """Run passes with all checks on."""
    PassManager(passes, check_claims=True).run(graph)
    return graph


def assert_same_meaning(
    build: Callable[[], Graph], *passes: Pass, numbers: Mapping[str, int] | None = None, tolerance: float = 0.0
) -> Graph:
    """Run passes over a graph and compare its outputs with those of an untouched copy; returns the rewritten graph."""
    numbers = numbers or {"past": 3, "seq": 2}
    before, after = build(), run_passes(build(), *passes)
    inputs = random_inputs(before, numbers)
    expected, found = interpret(before, inputs, dict(numbers)), interpret(after, inputs, dict(numbers))
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=tolerance, atol=tolerance, err_msg=name)
    return after


def operations(graph: Graph) -> list[str]:
    """Names of the operations in order."""
    return [node.op for node in graph.nodes]
