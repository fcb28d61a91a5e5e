"""Wraps a transformers model so that torch's two ONNX exporters write it with our input and output names.

Needs the extra `train` (torch, transformers, onnxscript). Both exporters see the same wrapper module, whose arguments
are `input_ids`, `attention_mask`, `position_ids` and one past key and value per layer, so that a graph differs from
its sibling only by what the exporter does.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
import torch
from transformers import DynamicCache
from transformers.utils import logging as transformers_logging

DYNAMO_OPSET = 20
TORCHSCRIPT_OPSET = 17
BATCH, SEQUENCE, PAST = 2, 5, 3
"""Lengths of the example inputs; each differs from 0, 1 and the others, so that no axis is taken for a constant."""


@dataclass(frozen=True)
class Export:
    """One module with what an exporter has to know of it.

    Attributes:
        module: the wrapped model, in evaluation mode.
        arguments: example inputs, in the order of `input_names`.
        input_names: graph input names.
        output_names: graph output names.
        axes: the symbolic axes of each input and output, as `{name: {axis: dimension name}}`.
    """

    module: torch.nn.Module
    arguments: tuple[torch.Tensor, ...]
    input_names: list[str]
    output_names: list[str]
    axes: dict[str, dict[int, str]]


class CachedDecoder(torch.nn.Module):
    """A causal language model as a function of ids, mask, positions and the cache's tensors."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor, *past: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Returns the logits and, per layer, the cache's key and value after the step."""
        cache = DynamicCache(list(zip(past[::2], past[1::2], strict=True)))
        result = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        )
        present = [state for layer in result.past_key_values.layers for state in (layer.keys, layer.values)]
        return (result.logits, *present)


class Encoder(torch.nn.Module):
    """A BERT encoder as a function of ids, mask and segment ids."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Returns the last hidden state `[batch, seq, hidden]`."""
        result = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return result.last_hidden_state


def decoder_export(model: torch.nn.Module, layers: int, kv_heads: int, head_dim: int) -> Export:
    """Describes the export of a causal language model with a KV cache of `layers` pairs."""
    ids = torch.randint(0, model.config.vocab_size, (BATCH, SEQUENCE))
    mask = torch.ones((BATCH, PAST + SEQUENCE), dtype=torch.int64)
    positions = torch.arange(PAST, PAST + SEQUENCE).repeat(BATCH, 1)
    past = [torch.randn(BATCH, kv_heads, PAST, head_dim) for _ in range(2 * layers)]
    suffixes = [f"{layer}.{kind}" for layer in range(layers) for kind in ("key", "value")]
    past_names = [f"past_key_values.{suffix}" for suffix in suffixes]
    present_names = [f"present.{suffix}" for suffix in suffixes]
    token_axes = {0: "batch", 1: "seq"}
    axes = {
        "input_ids": token_axes,
        "attention_mask": {0: "batch", 1: "total"},
        "position_ids": token_axes,
        "logits": token_axes,
    }
    axes |= {name: {0: "batch", 2: "past"} for name in past_names}
    axes |= {name: {0: "batch", 2: "total"} for name in present_names}
    return Export(
        CachedDecoder(model).eval(),
        (ids, mask, positions, *past),
        ["input_ids", "attention_mask", "position_ids", *past_names],
        ["logits", *present_names],
        axes,
    )


def encoder_export(model: torch.nn.Module) -> Export:
    """Describes the export of a BERT encoder."""
    ids = torch.randint(0, model.config.vocab_size, (BATCH, SEQUENCE))
    names = ["input_ids", "attention_mask", "token_type_ids"]
    arguments = (ids, torch.ones_like(ids), torch.zeros_like(ids))
    axes = {name: {0: "batch", 1: "seq"} for name in [*names, "last_hidden_state"]}
    return Export(Encoder(model).eval(), arguments, names, ["last_hidden_state"], axes)


def export_dynamo(export: Export) -> onnx.ModelProto:
    """Exports by `torch.export` and the onnxscript translation, opset 20."""
    shapes = [_dynamo_axes(export.axes[name]) for name in export.input_names]
    leading = [name for name in export.input_names if not name.startswith("past_key_values.")]
    dynamic_shapes: dict[str, object] = dict(zip(leading, shapes, strict=False))
    if len(leading) < len(shapes):
        dynamic_shapes["past"] = tuple(shapes[len(leading) :])
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            export.module,
            export.arguments,
            input_names=export.input_names,
            output_names=export.output_names,
            dynamic_shapes=dynamic_shapes,
            opset_version=DYNAMO_OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    return strip_traces(program.model_proto)


def export_torchscript(export: Export, path: Path) -> onnx.ModelProto:
    """Exports by tracing (`dynamo=False`), opset 17, by way of the file `path`."""
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            export.module,
            export.arguments,
            str(path),
            input_names=export.input_names,
            output_names=export.output_names,
            dynamic_axes=export.axes,
            opset_version=TORCHSCRIPT_OPSET,
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


def largest_difference(export: Export, model: onnx.ModelProto, batch: int, sequence: int, past: int) -> float:
    """Runs the module and its graph on new lengths; returns the largest absolute difference of any output element."""
    lengths = {"batch": batch, "seq": sequence, "past": past, "total": past + sequence}
    arguments = []
    for name, example in zip(export.input_names, export.arguments, strict=True):
        shape = [lengths.get(export.axes[name].get(axis, ""), size) for axis, size in enumerate(example.shape)]
        if example.is_floating_point():
            arguments.append(torch.randn(shape))
        elif name == "position_ids":
            arguments.append(torch.arange(past, past + sequence).repeat(batch, 1))
        else:
            arguments.append(torch.ones(shape, dtype=torch.int64))
    with torch.no_grad():
        expected = export.module(*arguments)
    expected = expected if isinstance(expected, tuple) else (expected,)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {name: value.numpy() for name, value in zip(export.input_names, arguments, strict=True)}
    actual = session.run(export.output_names, feeds)
    return max(float(abs(left.numpy() - right).max()) for left, right in zip(expected, actual, strict=True))


def _dynamo_axes(axes: dict[int, str]) -> dict[int, object]:
    """Names the free dimensions; `total` is left to the exporter, which derives it."""
    return {
        axis: torch.export.Dim.DYNAMIC if name == "total" else torch.export.Dim(name, min=_LEAST[name], max=1 << 16)
        for axis, name in axes.items()
    }


_LEAST = {"batch": 1, "seq": 1, "past": 0}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporters' progress text and their deprecation warnings off the terminal."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
