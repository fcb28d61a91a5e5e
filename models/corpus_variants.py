"""Writes what ONNX Runtime's tools make of corpus graphs: fused, quantised and half-precision forms.

Needs the extra `zoo`, and the graphs that it starts from.

    python models/corpus_variants.py [--kind int8 ...]
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from corpus_inputs import random_case
from corpus_manifest import CORPUS, CorpusGraph, Tensor, add_to_manifest, load_manifest
from exporters import CHECKED_LENGTHS, FILE_BYTES, relative_difference, small_enough
from onnx import numpy_helper
from onnxruntime import quantization
from onnxruntime.quantization import matmul_nbits_quantizer
from weight_only_int8 import store_weights_as_int8

Rewrite = Callable[[CorpusGraph, Path, Path], None]
"""Reads a graph from the first path and writes what it makes of it to the second."""


@dataclass(frozen=True)
class Kind:
    """One way to rewrite a graph.

    Attributes:
        rewrite: does it.
        sources: names of the graphs that it is done to.
        loss: largest difference from the source, relative, that is no fault.
        tolerance: largest difference between two correct implementations of the result.
        attention: whether attention is still in floating point, so that it can be recognised.
        feed_forward: whether the feed-forward blocks are.
        rounded_gelu: sources whose GELU is spelled with constants that the rewriting rounds: it is no GELU then.
    """

    rewrite: Rewrite
    sources: tuple[str, ...]
    loss: float = 1e-4
    tolerance: float = 1e-4
    attention: bool = True
    feed_forward: bool = True
    rounded_gelu: tuple[str, ...] = ()


def main() -> int:
    """Writes the variants that were asked for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="corpus_variants.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS), help="which rewrites (default: all)")
    parser.add_argument("-o", "--output", type=Path, default=CORPUS, help="folder to write to (default: models/corpus)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    failures = 0
    for kind in options.kind:
        for source in KINDS[kind].sources:
            try:
                graph = write_variant(kind, source, options.output)
            except Exception as error:  # a tool may raise anything; the others go on
                failures += 1
                print(f"{source} {kind}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr, flush=True)
                continue
            add_to_manifest([graph], options.output / "manifest.json")
            print(f"{graph.file:48} {(options.output / graph.file).stat().st_size / 1000:6.1f} kB", flush=True)
    return 1 if failures else 0


def write_variant(name: str, source: str, corpus: Path) -> CorpusGraph:
    """Rewrites one graph, compares it with what it was made from, writes it and returns its facts.

    Raises:
        RuntimeError: when it computes something else, or is too large.
    """
    kind = KINDS[name]
    before = next(graph for graph in load_manifest() if graph.name == source)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        kind.rewrite(before, before.path, path)
        model = small_enough(onnx.load(path))
    after = replace(
        before,
        file=f"variants/{source}-{name}.onnx",
        exporter="onnxruntime",
        opset=next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        attention_blocks=before.attention_blocks if kind.attention else 0,
        feed_forward_blocks=before.feed_forward_blocks if kind.feed_forward and source not in kind.rounded_gelu else 0,
        inputs=_only(before.inputs, model.graph.input),
        outputs=_only(before.outputs, model.graph.output),
        relative_tolerance=kind.tolerance,
    )
    worst = max(_difference(before, after, model, *lengths) for lengths in CHECKED_LENGTHS)
    if not worst <= kind.loss:
        raise RuntimeError(f"{after.file} differs from what it was made of by {worst:.1e}")
    if model.ByteSize() > FILE_BYTES:
        raise RuntimeError(f"{after.file} takes {model.ByteSize()} bytes")
    (corpus / "variants").mkdir(parents=True, exist_ok=True)
    onnx.save(model, corpus / after.file)
    return after


def _only(tensors: tuple[Tensor, ...], values: object) -> tuple[Tensor, ...]:
    """The facts of the inputs or outputs that the rewritten graph has, in its order."""
    by_name = {tensor.name: tensor for tensor in tensors}
    return tuple(by_name[value.name] for value in values)


def _difference(
    before: CorpusGraph, after: CorpusGraph, model: onnx.ModelProto, batch: int, seq: int, past: int
) -> float:
    case = random_case(before, batch, seq, past, seed=past)
    results: list[dict[str, np.ndarray]] = []
    for graph, content in ((before, before.path.read_bytes()), (after, model.SerializeToString())):
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        names = [tensor.name for tensor in graph.outputs]
        values = session.run(names, {tensor.name: case.inputs[tensor.name] for tensor in graph.inputs})
        results.append(dict(zip(names, values, strict=True)))
    left, right = results
    return max(relative_difference(case.selections[name], left[name], right[name]) for name in right)


def fuse(graph: CorpusGraph, source: Path, target: Path) -> None:
    """What a session writes that optimises without regard to the machine."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def fuse_by_script(graph: CorpusGraph, source: Path, target: Path) -> None:
    """What the optimiser for transformers writes, which fuses more."""
    _fuse_by_script(graph, source, target, one_weight=True)


def fuse_by_script_with_apart_heads(graph: CorpusGraph, source: Path, target: Path) -> None:
    """The same with queries, keys and values computed apart: MultiHeadAttention."""
    _fuse_by_script(graph, source, target, one_weight=False)


def _fuse_by_script(graph: CorpusGraph, source: Path, target: Path, *, one_weight: bool) -> None:
    from onnxruntime.transformers import fusion_options, optimizer

    model_type = "bert" if graph.mode == "encoder" else "gpt2"
    options = fusion_options.FusionOptions(model_type)
    options.use_multi_head_attention = not one_weight
    result = optimizer.optimize_model(
        str(source),
        model_type=model_type,
        num_heads=graph.heads,
        hidden_size=graph.heads * graph.head_dim,
        optimization_options=options,
        opt_level=0,
    )
    for table in result.model.graph.initializer:
        if table.name in ("cos_cache", "sin_cache"):  # written for 65,536 positions
            rows = numpy_helper.to_array(table)[: graph.positions]
            table.CopyFrom(numpy_helper.from_array(rows, table.name))
    result.save_model_to_file(str(target))


def halve(graph: CorpusGraph, source: Path, target: Path) -> None:
    """Half precision inside, single precision at the inputs and outputs."""
    from onnxruntime.transformers import float16, onnx_model

    model = onnx.shape_inference.infer_shapes(onnx.load(source))
    halved = onnx_model.OnnxModel(float16.convert_float_to_float16(model, keep_io_types=True))
    halved.topological_sort()
    halved.save_model_to_file(str(target))


def quantise_dynamically(graph: CorpusGraph, source: Path, target: Path) -> None:
    """Weights of 8 bits, activations quantised by the range of each tensor."""
    quantization.quantize_dynamic(source, target, weight_type=quantization.QuantType.QInt8)


def quantise_around_nodes(graph: CorpusGraph, source: Path, target: Path) -> None:
    """Pairs of QuantizeLinear and DequantizeLinear, with ranges from random inputs."""
    _quantise(graph, source, target, quantization.QuantFormat.QDQ)


def quantise_operators(graph: CorpusGraph, source: Path, target: Path) -> None:
    """Operators on integers, with ranges from random inputs."""
    _quantise(graph, source, target, quantization.QuantFormat.QOperator)


def _quantise(graph: CorpusGraph, source: Path, target: Path, form: quantization.QuantFormat) -> None:
    quantization.quantize_static(
        source,
        target,
        _RandomInputs(graph),
        quant_format=form,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm"],  # masks are added, and -inf has no scale
        extra_options={"MatMulConstBOnly": True},
    )


class _RandomInputs(quantization.CalibrationDataReader):
    """The inputs from which ranges are measured, as the tool wants to be given them."""

    def __init__(self, graph: CorpusGraph) -> None:
        cases = [random_case(graph, *lengths, seed=90 + lengths[2]).inputs for lengths in CHECKED_LENGTHS]
        self._rest = iter(cases)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Returns the next inputs, `None` behind the last."""
        return next(self._rest, None)


def quantise_weights_to_4_bits(graph: CorpusGraph, source: Path, target: Path) -> None:
    """Weights of 4 bits in blocks of 16, as com.microsoft's MatMulNBits."""
    _quantise_weights(source, target, quantization.QuantFormat.QOperator)


def dequantise_4_bit_blocks(graph: CorpusGraph, source: Path, target: Path) -> None:
    """Weights of 4 bits in blocks of 16, as the standard's DequantizeLinear."""
    _quantise_weights(source, target, quantization.QuantFormat.QDQ)


def _quantise_weights(source: Path, target: Path, form: quantization.QuantFormat) -> None:
    quantizer = matmul_nbits_quantizer.MatMulNBitsQuantizer(
        onnx.load(source), bits=4, block_size=16, is_symmetric=False, quant_format=form
    )
    quantizer.process()
    quantizer.model.save_model_to_file(str(target))


def store_int8(graph: CorpusGraph, source: Path, target: Path) -> None:
    """Weights of 8 bits, converted and scaled by plain operators."""
    onnx.save(store_weights_as_int8(onnx.load(source)), target)


INTEGER = {"loss": 0.5, "tolerance": 2e-2}
KINDS = {
    "fused": Kind(
        fuse, ("bert-torchscript", "gpt2-torchscript", "llama-torchscript", "vit-torchscript", "clip-torchscript")
    ),
    "fused-script": Kind(fuse_by_script, ("bert-torchscript", "bert-optimum", "gpt2-torchscript", "llama-optimum")),
    "fused-heads": Kind(fuse_by_script_with_apart_heads, ("bert-optimum",)),
    "float16": Kind(
        halve,
        ("bert-torchscript", "gpt2-torchscript", "llama-dynamo"),
        loss=2e-2,
        tolerance=1e-2,
        rounded_gelu=("bert-torchscript", "gpt2-torchscript"),
    ),
    "int8": Kind(
        quantise_dynamically,
        ("bert-torchscript", "gpt2-torchscript", "llama-torchscript"),
        feed_forward=False,
        **INTEGER,
    ),
    "qdq": Kind(
        quantise_around_nodes,
        ("bert-torchscript", "llama-dynamo", "vit-dynamo"),
        attention=False,
        feed_forward=False,
        **INTEGER,
    ),
    "qoperator": Kind(quantise_operators, ("bert-torchscript",), feed_forward=False, **INTEGER),
    "nbits": Kind(quantise_weights_to_4_bits, ("llama-dynamo", "bert-dynamo"), loss=1.0),
    "int4": Kind(dequantise_4_bit_blocks, ("llama-dynamo",), loss=1.0),
    "int8-weights": Kind(store_int8, ("llama-dynamo", "bert-dynamo"), loss=0.1),
}


if __name__ == "__main__":
    raise SystemExit(main())
