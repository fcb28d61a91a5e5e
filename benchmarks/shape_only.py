"""Graphs of models of any size without their weights: only shapes are ever in memory or on the disk."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from passes import Graph
from pimc.frontend import import_model, load_model

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from model_file import BuiltModel  # models/ is a folder of scripts, no package

_LARGE = 1 << 16


def shape_only_graph(model: BuiltModel, name: str) -> Graph:
    """The graph of an ONNX model that was built with `AbsentWeights`, as the frontend gives it.

    One zero stands for every large weight; a table gets a one, so that it is not taken for the head's.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        model.save(path)
        graph = import_model(load_model(path), {})
        for node in graph.nodes:
            for value in node.inputs:
                if value is not None and value.constant is not None and value.constant.size >= _LARGE:
                    number = np.full((1,) * value.constant.ndim, float(node.op == "gather"), value.constant.dtype)
                    value.constant = np.broadcast_to(number, value.constant.shape)
    return graph
