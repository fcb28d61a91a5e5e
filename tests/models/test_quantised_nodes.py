"""Every node of the corpus that quantises or computes with codes is exact, bit for bit, given equal inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import pytest
from onnx import NodeProto, ValueInfoProto, helper

pytest.importorskip("onnxruntime")

from corpus_inputs import random_case
from corpus_manifest import CorpusGraph, load_manifest
from corpus_measures import least_cosine
from corpus_runs import is_quantised

from isa import load_machine
from pimc.compiler import compile_model
from pimc.reference import Reference
from pimc.simulator import Session

GRAPHS = [graph for graph in load_manifest() if is_quantised(graph)]
OPERATORS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul"}
LEAST_NODES = {"bert": 20, "gpt2": 20, "llama": 25, "vit": 60}
"""By family; the constant operands of products are dequantised when compiling and do not count."""
MACHINE = load_machine("gddr6-aim")
Arrays = Mapping[str, np.ndarray]


def nodes_with_codes(model: onnx.ModelProto) -> Iterator[NodeProto]:
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in OPERATORS and node.input[0] not in constants:
            yield node


def values_at(graph: CorpusGraph, model: onnx.ModelProto) -> Arrays:
    """Operands and results of the nodes, as ONNX Runtime computes them."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    names = {name for node in nodes_with_codes(model) for name in (*node.input, *node.output)}
    computed = {name for node in model.graph.node for name in node.output} & names
    shown.graph.output.extend(ValueInfoProto(name=name) for name in sorted(computed))
    case = random_case(graph, 1, 3, 7)
    return {**Reference(shown).run(case.inputs), **case.inputs}


def side_by_side(model: onnx.ModelProto, values: Arrays) -> tuple[onnx.ModelProto, Arrays]:
    """The nodes in a model of their own, each with operands of its own as inputs, and these inputs."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes, inputs = [], {}
    for number, original in enumerate(nodes_with_codes(model)):
        node = NodeProto()
        node.CopyFrom(original)
        for place, name in enumerate(original.input):
            if name and name not in constants:
                node.input[place] = f"{name}.{number}"
                inputs[node.input[place]] = values[name]
        nodes.append(node)
    outputs = [name for node in nodes for name in node.output]
    graph = helper.make_graph(
        nodes,
        "nodes",
        [described(name, array) for name, array in inputs.items()],
        [described(name, values[name]) for name in outputs],
        [constants[name] for name in sorted({name for node in nodes for name in node.input} & set(constants))],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version), inputs


def described(name: str, array: np.ndarray) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)
def test_nodes_with_codes_are_exact(graph: CorpusGraph) -> None:
    original = onnx.load(graph.path)
    model, inputs = side_by_side(original, values_at(graph, original))
    assert len(model.graph.node) >= LEAST_NODES[graph.family]
    expected = Reference(model).run(inputs)
    for numerics in ("fp32", "machine"):
        found = Session(compile_model(model, MACHINE, numerics=numerics), MACHINE).run(inputs)
        differing = [name for name, array in expected.items() if not np.array_equal(array, found[name])]
        assert (numerics, differing) == (numerics, [])


@pytest.mark.parametrize(("name", "cosine"), [("llama-dynamo", 0.9956), ("vit-dynamo", 0.9994)])
def test_quantising_moves_the_outputs(name: str, cosine: float) -> None:
    """By as much as bf16 does afterwards: why these graphs have no bar in the machine's rounding."""
    graph, quantised = (next(each for each in load_manifest() if each.name == n) for n in (name, f"{name}-qdq"))
    case = random_case(graph, 2, 12)
    expected, found = (Reference(each.path).run(case.inputs) for each in (graph, quantised))
    assert least_cosine(case.selections, expected, found) == pytest.approx(cosine, abs=5e-5)
