"""Writes a transformers model by each of torch's two ONNX exporters, with our input and output names.

Needs the extra `zoo` (torch, transformers, onnxscript). Both exporters see the same wrapper module, so that a graph
differs from its sibling only by what the exporter does.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from corpus_inputs import random_case
from corpus_manifest import CorpusGraph, Tensor
from corpus_names import drop_scopes, number_nodes, number_values, strip_wrapper
from transformers.utils import logging as transformers_logging

TORCHSCRIPT_OPSET, DYNAMO_OPSET = 17, 20
BATCH, SEQUENCE, PAST, ENCODER_SEQUENCE = 2, 5, 3, 7
"""Lengths of the example inputs; each differs from 0, 1 and the others, so that no axis is taken for a constant."""
CHECKED_LENGTHS = ((1, 1, 0), (1, 4, 0), (3, 1, 7), (2, 3, 9), (1, 8, 13), (3, 9, 0))
"""Batch, new and past tokens at which an exported graph is compared with torch."""
FILE_BYTES = 150_000
"""No graph of the corpus is larger."""

Call = Callable[[torch.nn.Module, dict[str, torch.Tensor]], tuple[torch.Tensor, ...]]
"""Runs a model on named inputs and returns the outputs in the graph's order."""


@dataclass(frozen=True)
class Export:
    """One model with what an exporter has to know of it.

    Attributes:
        graph: the facts, inputs and outputs among them; file, exporter and opset are filled in when it is written.
        model: the model of transformers, in evaluation mode.
        call: how it is run.
    """

    graph: CorpusGraph
    model: torch.nn.Module
    call: Call


class NamedInputs(torch.nn.Module):
    """A model as a function of tensors alone, in the order of the graph's inputs."""

    def __init__(self, export: Export) -> None:
        super().__init__()
        self.model = export.model
        self.call = export.call
        self.names = [tensor.name for tensor in export.graph.inputs]

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Returns the outputs in the graph's order."""
        return self.call(self.model, dict(zip(self.names, tensors, strict=True)))


def write_export(export: Export, exporter: str, opset: int, file: str, corpus: Path) -> CorpusGraph:
    """Exports one model, compares it with torch, writes it below the folder `corpus` and returns its facts.

    Raises:
        RuntimeError: when the graph computes something else than torch, or is too large.
    """
    write = {"dynamo": export_dynamo, "torchscript": export_torchscript}[exporter]
    model = small_enough(strip_wrapper(write(export, opset)))
    onnx.checker.check_model(model, full_check=True)
    graph = replace(export.graph, file=file, exporter=exporter, opset=model.opset_import[0].version)
    graph = _with_the_inputs_that_are_left(graph, model)
    worst = max(largest_difference(export, graph, model, *lengths) for lengths in CHECKED_LENGTHS)
    if not worst <= graph.relative_tolerance / 4:
        raise RuntimeError(f"{file} differs from torch by {worst:.1e}")
    if model.ByteSize() > FILE_BYTES:
        raise RuntimeError(f"{file} takes {model.ByteSize()} bytes")
    path = corpus / file
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return graph


def small_enough(model: onnx.ModelProto) -> onnx.ModelProto:
    """Shortens the names of inner values where the file would be too large, then drops what else is only for people."""
    for shorten in (number_values, drop_scopes, number_nodes):
        if model.ByteSize() > FILE_BYTES:
            shorten(model)
    return model


def export_dynamo(export: Export, opset: int = DYNAMO_OPSET) -> onnx.ModelProto:
    """Exports by `torch.export` and the onnxscript translation."""
    names = [tensor.name for tensor in export.graph.inputs]
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            NamedInputs(export).eval(),
            _example(export),
            input_names=names,
            output_names=[tensor.name for tensor in export.graph.outputs],
            dynamic_shapes={"tensors": tuple(_dynamo_axes(tensor) for tensor in export.graph.inputs)},
            opset_version=opset,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    return strip_traces(program.model_proto)


def export_torchscript(export: Export, opset: int = TORCHSCRIPT_OPSET) -> onnx.ModelProto:
    """Exports by tracing (`dynamo=False`)."""
    sides = (*export.graph.inputs, *export.graph.outputs)
    axes = {
        tensor.name: {axis: dim for axis, dim in enumerate(tensor.dims) if isinstance(dim, str)} for tensor in sides
    }
    with _quiet(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            NamedInputs(export).eval(),
            _example(export),
            str(path),
            input_names=[tensor.name for tensor in export.graph.inputs],
            output_names=[tensor.name for tensor in export.graph.outputs],
            dynamic_axes=axes,
            opset_version=opset,
            dynamo=False,
        )
        return onnx.load(path)


def strip_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drops the source lines that the dynamo exporter notes on nodes and values; keeps the nodes' name space.

    They make up three quarters of a small file and never touch the graph's meaning.
    """
    for holder in (model.graph, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del holder.metadata_props[:]
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key == "namespace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    return model


def largest_difference(
    export: Export, graph: CorpusGraph, model: onnx.ModelProto, batch: int, seq: int, past: int
) -> float:
    """Runs module and graph on ragged inputs of new lengths.

    Returns:
        The largest difference of any output element that padding leaves alone, relative to the output's largest.
    """
    case = random_case(export.graph, batch, seq, past, seed=past)
    tensors = [torch.from_numpy(np.ascontiguousarray(value)) for value in case.inputs.values()]
    with torch.no_grad():
        results = NamedInputs(export).eval()(*tensors)
    expected = {tensor.name: value.numpy() for tensor, value in zip(export.graph.outputs, results, strict=True)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in graph.outputs]
    actual = session.run(names, {tensor.name: case.inputs[tensor.name] for tensor in graph.inputs})
    return max(
        relative_difference(case.selections[name], expected[name], value)
        for name, value in zip(names, actual, strict=True)
    )


def relative_difference(selection: np.ndarray, expected: np.ndarray, actual: np.ndarray) -> float:
    """Returns the largest selected difference, relative to the largest element; infinite for unequal shapes."""
    if expected.shape != actual.shape:
        return float("inf")
    chosen = np.broadcast_to(selection, expected.shape)
    if not chosen.any():
        return 0.0
    left, right = expected[chosen].astype(np.float64), actual[chosen].astype(np.float64)
    return float(np.abs(left - right).max() / max(np.abs(left).max(), 1e-6))


def _example(export: Export) -> tuple[torch.Tensor, ...]:
    case = random_case(export.graph, BATCH, SEQUENCE, PAST, enc_seq=ENCODER_SEQUENCE, padding=(0,) * BATCH)
    return tuple(torch.from_numpy(np.ascontiguousarray(value)) for value in case.inputs.values())


def _with_the_inputs_that_are_left(graph: CorpusGraph, model: onnx.ModelProto) -> CorpusGraph:
    """An exporter may drop an input that nothing reads."""
    left = {value.name for value in model.graph.input}
    return replace(graph, inputs=tuple(tensor for tensor in graph.inputs if tensor.name in left))


def _dynamo_axes(tensor: Tensor) -> dict[int, object]:
    """Names the free dimensions; `total` is left to the exporter, which derives it."""
    return {
        axis: torch.export.Dim.DYNAMIC if name == "total" else torch.export.Dim(name, min=_LEAST[name], max=1 << 16)
        for axis, name in enumerate(tensor.dims)
        if isinstance(name, str)
    }


_LEAST = {"batch": 1, "seq": 1, "past": 0, "enc_seq": 1}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporters' progress text and their deprecation warnings off the terminal."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
