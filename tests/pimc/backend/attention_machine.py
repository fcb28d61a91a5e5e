"""A machine with banks and small crossbars, and compilation of models whose attention runs in these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from isa import Machine, Program, load_machine
from passes import Cache, Graph, PassManager, PlaceWeights, TensorType, UnitChoice, symbol
from pimc.backend import ProgramOptions, build_program
from pimc.compiler import fuse_model
from pimc.frontend import wrap_model


def machine_with_arrays(columns: int = 3, tables: bool = False, **changes: Any) -> Machine:
    """gddr6-aim with groups of 32 rows and 16 columns for each of `columns` arrays, and 9-bit converters.

    With `tables` it has a softmax unit of in-memory logic and tables.
    """
    banks, other = load_machine("gddr6-aim"), load_machine("reram-retransformer")
    resistive = other.crossbar
    assert resistive is not None
    shape = {"groups": 64, "group_rows": 2, "group_columns": columns, "array_rows": 16, "array_columns": 16}
    crossbar = resistive.model_copy(update={**shape, "adc_bits": 9, **changes})
    unit = other.hybrid_softmax if tables else None
    return banks.model_copy(update={"name": "banks-and-arrays", "crossbar": crossbar, "hybrid_softmax": unit})


def choose_arrays(graph: Graph) -> None:
    """Let all attention run in crossbars."""
    attentions = [node.name for node in graph.nodes if node.op == "cached_attention"]
    graph.facts["choose_units"] = UnitChoice(
        dict.fromkeys(attentions, "crossbar"), dict.fromkeys(attentions, "as wanted")
    )


def compile_in_arrays(
    model: onnx.ModelProto, machine: Machine, numerics: str = "fp32", context: int = 32, pipeline: str | None = None
) -> Program:
    """Compile a model whose attention runs in crossbars."""
    graph = fuse_model(wrap_model(model), pipeline_text=pipeline)
    choose_arrays(graph)
    PassManager([PlaceWeights(machine)]).run(graph)
    return build_program(graph, machine, ProgramOptions(context, 16, numerics, {}))


@dataclass(frozen=True)
class CachedAttention:
    """An attention over a KV cache whose operands are inputs of the model.

    Attributes:
        heads: Query heads.
        kv_heads: Key/value heads.
        key_width: Elements of a key.
        value_width: Elements of a value.
        is_shared: Whether keys are values, too.
    """

    heads: int
    kv_heads: int
    key_width: int
    value_width: int
    is_shared: bool = False

    @property
    def widths(self) -> tuple[int, int, int]:
        """Elements of a token's query, key and value."""
        return self.heads * self.key_width, self.kv_heads * self.key_width, self.kv_heads * self.value_width

    def graph(self) -> Graph:
        """The attention, causal, with past inputs and present outputs; its unit is chosen."""
        graph, tokens, past = Graph("attention"), symbol("seq"), symbol("past")
        inputs = []
        for name, width in zip(("query", "key", "value"), self.widths, strict=True):
            if name == "value" and self.is_shared:
                inputs.append(inputs[-1])
                continue
            graph.signature[name] = TensorType("float32", (1, tokens, width))
            inputs.append(graph.add_input(name, graph.signature[name]))
        widths = (self.key_width, self.value_width)
        ports = ("past.key", "past.value", "present.key", "present.value")
        graph.caches["cache"] = Cache("cache", self.kv_heads, *widths, *ports)
        for port, width, length in zip(ports, widths * 2, (past, past, past + tokens, past + tokens), strict=True):
            graph.signature[port] = TensorType("float32", (1, self.kv_heads, length, width))
        facts = {"heads": self.heads, "kv_heads": self.kv_heads, "scale": self.key_width**-0.5, "causal": True}
        facts |= {"window": 0, "softcap": 0.0, "cache": "cache"}
        kind = TensorType("float32", (1, tokens, self.heads * self.value_width))
        node = graph.add_node("cached_attention", inputs, [kind], facts)
        graph.outputs["result"] = node.output
        graph.signature["result"] = node.output.type
        choose_arrays(graph)
        return graph

    def program(self, machine: Machine, numerics: str = "fp32", context: int = 40) -> Program:
        """The program of the graph."""
        graph = self.graph()
        PlaceWeights(machine).run(graph)
        return build_program(graph, machine, ProgramOptions(context, 8, numerics, {}))
