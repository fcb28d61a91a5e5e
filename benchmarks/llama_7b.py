"""Llama-2-7B as a program without weights, for timing; only the shapes of the model are ever in memory."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.shape_only import shape_only_graph
from isa import Machine, Program
from passes import PassManager, PlaceWeights, pipeline
from pimc.backend import ProgramOptions, build_program

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from llama import LlamaConfig, build_llama  # models/ is a folder of scripts, no package
from model_weights import AbsentWeights

LAYERS, HEADS = 32, 32


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
    graph = shape_only_graph(build_llama(config, AbsentWeights()), "llama-2-7b")
    PassManager(pipeline("default")).run(graph)
    PassManager([PlaceWeights(machine)]).run(graph)
    metadata = {"model": "llama-2-7b", "pipeline": "default", "table_rows": {}}
    return build_program(graph, machine, ProgramOptions(max_context, 1, "machine", metadata, weights=False))
