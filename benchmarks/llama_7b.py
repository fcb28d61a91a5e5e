"""Llama-2-7B as a program without weights, for timing; only the shapes of the model are ever in memory."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from isa import Machine, Program
from passes import Graph, PassManager, PlaceWeights, pipeline
from pimc.backend import ProgramOptions, build_program
from pimc.frontend import import_model, load_model

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from llama import LlamaConfig, build_llama  # models/ is a folder of scripts, no package
from model_weights import AbsentWeights

LAYERS, HEADS = 32, 32
_LARGE = 1 << 16


def compile_llama_7b(machine: Machine, max_context: int, layers: int = LAYERS) -> Program:
    """The decode program of a Llama-2-7B with untied head.

    Args:
        machine: The target.
        max_context: Longest attended length.
        layers: Decoder layers; fewer for tests.
    """
    config = LlamaConfig(
        vocabulary=32000,
        hidden=4096,
        layers=layers,
        heads=HEADS,
        kv_heads=HEADS,
        head_dim=128,
        intermediate=11008,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "llama-2-7b.onnx"
        build_llama(config, AbsentWeights()).save(path)
        graph = import_model(load_model(path), {})
        _forget_weights(graph)
    PassManager(pipeline("default")).run(graph)
    PassManager([PlaceWeights(machine)]).run(graph)
    metadata = {"model": "llama-2-7b", "pipeline": "default", "table_rows": {}}
    return build_program(graph, machine, ProgramOptions(max_context, 1, "machine", metadata, weights=False))


def _forget_weights(graph: Graph) -> None:
    """Let one zero stand for every large weight; the table gets a one, so that it is not taken for the head's."""
    for node in graph.nodes:
        for value in node.inputs:
            if value is not None and value.constant is not None and value.constant.size >= _LARGE:
                number = np.full((1,) * value.constant.ndim, float(node.op == "gather"), value.constant.dtype)
                value.constant = np.broadcast_to(number, value.constant.shape)
