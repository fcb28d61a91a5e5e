"""An ONNX model and what becomes of it, as tables and JSON values."""

from __future__ import annotations

from collections import Counter
from typing import Any

import onnx

from isa import Machine
from passes import Graph, PassManager, PlaceWeights
from pimc.frontend import LoadedModel
from pimc.report.quantities import byte_size, count, percent
from pimc.report.terminal import Terminal


def print_model(terminal: Terminal, model: LoadedModel) -> None:
    """Inputs, outputs, operators and weights of the file."""
    facts = model_facts(model)
    opsets = ", ".join(f"{name or 'onnx'} {version}" for name, version in model.opsets.items())
    operators = ", ".join(f"{number} {name}" for name, number in facts["operators"].items())
    rows = [
        ("operator sets", opsets),
        ("nodes", count(facts["nodes"])),
        ("operators", operators),
        ("weights", f"{count(facts['weight_elements'])} elements"),
        *((f"property {key}", _first_line(value)) for key, value in facts["properties"].items()),
    ]
    terminal.facts("", rows)
    terminal.line()
    ports = [(port["name"], kind, port["type"]) for kind in ("input", "output") for port in facts[f"{kind}s"]]
    terminal.table("", ("name", "", "type"), ports)


def model_facts(model: LoadedModel) -> dict[str, Any]:
    """The file as JSON values."""
    graph = model.proto.graph
    weights = {tensor.name for tensor in graph.initializer}
    return {
        "sha256": model.sha256,
        "opsets": model.opsets,
        "nodes": len(graph.node),
        "operators": dict(sorted(Counter(node.op_type for node in graph.node).items(), key=lambda pair: -pair[1])),
        "weight_elements": sum(_elements(tensor) for tensor in graph.initializer),
        "properties": {entry.key: entry.value for entry in model.proto.metadata_props},
        "inputs": [_port(value) for value in graph.input if value.name not in weights],
        "outputs": [_port(value) for value in graph.output],
    }


def print_fit(terminal: Terminal, graph: Graph, machine: Machine) -> None:
    """Whether the weights fit the machine, and how much KV cache a token takes."""
    facts = fit_facts(graph, machine)
    terminal.line()
    terminal.facts(
        f"on {machine.name}",
        [
            ("weights", f"{byte_size(facts['weight_bytes'])}, {percent(facts['bank_share'])} of the banks as placed"),
            ("KV cache", f"{byte_size(facts['kv_bytes_per_token'])} a token"),
        ],
    )


def fit_facts(graph: Graph, machine: Machine) -> dict[str, Any]:
    """The same as JSON values.

    Raises:
        ResourceLimitError: the weights do not fit.
    """
    PassManager([PlaceWeights(machine)]).run(graph)
    placement = graph.facts["place_weights"]
    elements = sum(value.constant.size for m in placement.matrices for value in m.weights if value.constant is not None)
    columns = machine.near_bank.columns_per_bank if machine.near_bank else 0
    per_token = sum(cache.kv_heads * (cache.head_dim + cache.value_dim) for cache in graph.caches.values())
    return {
        "weight_bytes": 2 * elements,
        "bank_share": placement.columns / columns if columns else 0.0,
        "kv_bytes_per_token": 2 * per_token,
    }


def _elements(tensor: onnx.TensorProto) -> int:
    elements = 1
    for size in tensor.dims:
        elements *= size
    return elements


def _port(value: onnx.ValueInfoProto) -> dict[str, str]:
    tensor = value.type.tensor_type
    sizes = ", ".join(
        dim.dim_param or (str(dim.dim_value) if dim.HasField("dim_value") else "?") for dim in tensor.shape.dim
    )
    name = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    return {"name": value.name, "type": f"{name}[{sizes}]"}


def _first_line(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= 80 and line == text else f"{line[:80]}..."
