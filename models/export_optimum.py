"""Writes the corpus graphs of a third exporter, optimum-onnx, which needs an environment of its own.

It holds transformers below 4.58, where the corpus's other exporters want 5: `pip install optimum-onnx==0.1.0
torch==2.13.0 onnxruntime onnx` into a fresh environment.

    python models/export_optimum.py [--family llama ...]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import corpus_decoders
import corpus_encoders
import corpus_seq2seq
import corpus_vision
import onnx
import torch
from corpus_manifest import CORPUS, CorpusGraph, Dim, Tensor, add_to_manifest
from exporters import CHECKED_LENGTHS, FILE_BYTES, Export, largest_difference, small_enough

OPSET = 18
DECODER, ENCODER = "text-generation-with-past", "feature-extraction"
FAMILIES = {
    **dict.fromkeys(("gpt2", "gptj", "opt", "bloom", "falcon", "llama", "mistral", "qwen2", "qwen3"), DECODER),
    **dict.fromkeys(("phi3", "granite", "olmo"), DECODER),
    **dict.fromkeys(("bert", "roberta", "distilbert", "albert", "electra", "mpnet", "deberta"), ENCODER),
    **dict.fromkeys(("deberta-v2", "modernbert", "vit", "deit"), ENCODER),
    **dict.fromkeys(("clip", "siglip"), "zero-shot-image-classification"),
    **dict.fromkeys(("t5", "bart", "marian"), "text2text-generation-with-past"),
    "whisper": "automatic-speech-recognition-with-past",
}
FOLDERS = {
    "decoders": (corpus_decoders, corpus_decoders.DECODERS),
    "encoders": (corpus_encoders, corpus_encoders.ENCODERS),
    "encoder-decoders": (corpus_seq2seq, corpus_seq2seq.ENCODER_DECODERS),
    "vision": (corpus_vision, (*corpus_vision.IMAGE_ENCODERS, *corpus_vision.PAIRS)),
}
MODES = {
    "encoder_model": "encoder",
    "decoder_model": "decoder",
    "decoder_with_past_model": "decoder_with_past",
    "decoder_model_merged": "decoder_merged",
}
DIMS = {
    "batch_size": "batch",
    "sequence_length": "seq",
    "decoder_sequence_length": "seq",
    "past_sequence_length": "past",
    "past_decoder_sequence_length": "past",
    "encoder_sequence_length": "enc_seq",
    "past_sequence_length + sequence_length": "total",
    "past_decoder_sequence_length + decoder_sequence_length": "total",
}


@dataclass(frozen=True)
class Plan:
    """How one family is exported: the folder below the corpus, the task, and our own exports of it, by mode."""

    family: str
    folder: str
    task: str
    exports: dict[str, Callable[[], Export]]


def main() -> int:
    """Exports the families that were asked for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="export_optimum.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FAMILIES), help="which (default: all)")
    parser.add_argument("-o", "--output", type=Path, default=CORPUS, help="folder to write to (default: models/corpus)")
    options = parser.parse_args()
    failures = 0
    for family in options.family:
        try:
            graphs = write_family(_plan(family), options.output)
        except Exception as error:  # an exporter may raise anything; the others go on
            failures += 1
            print(f"{family}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr, flush=True)
            continue
        add_to_manifest(graphs, options.output / "manifest.json")
    return 1 if failures else 0


def write_family(plan: Plan, corpus: Path) -> list[CorpusGraph]:
    """Exports one model to one or more graphs, compares them with torch, writes them and returns their facts."""
    from optimum.exporters.onnx import onnx_export_from_model

    main_mode = next(iter(plan.exports))
    model = plan.exports[main_mode]().model if plan.folder != "encoder-decoders" else _whole_model(plan)
    with tempfile.TemporaryDirectory() as folder:
        frames = {"nb_max_frames": corpus_seq2seq.FRAMES} if plan.family == "whisper" else {}
        onnx_export_from_model(model, Path(folder), task=plan.task, opset=OPSET, do_validation=False, **frames)
        made = {path.stem: onnx.load(path) for path in sorted(Path(folder).glob("*.onnx"))}
    graphs = []
    for stem, proto in made.items():
        mode = MODES.get(stem, main_mode)
        name = f"{plan.family}-optimum" + (f"/{mode}" if stem in MODES else "")
        graphs.append(_write(plan, mode, small_enough(proto), f"{plan.folder}/{name}.onnx", corpus))
    return graphs


def _whole_model(plan: Plan) -> torch.nn.Module:
    return plan.exports["decoder"]().model


def _write(plan: Plan, mode: str, proto: onnx.ModelProto, file: str, corpus: Path) -> CorpusGraph:
    onnx.checker.check_model(proto, full_check=True)
    if proto.ByteSize() > FILE_BYTES:
        raise RuntimeError(f"{file} takes {proto.ByteSize()} bytes")
    ours = plan.exports["decoder_with_past" if mode == "decoder_merged" else mode]()
    fixed = {"seq": 1} if mode in ("decoder_with_past", "decoder_merged") else {}
    graph = replace(
        ours.graph,
        file=file,
        exporter="optimum",
        opset=OPSET,
        mode=mode,
        inputs=tuple(_tensor(value, ours.graph, fixed) for value in proto.graph.input),
        outputs=tuple(_tensor(value, ours.graph, fixed) for value in proto.graph.output),
    )
    if mode != "decoder_merged":
        lengths = {(batch, fixed.get("seq", seq), past) for batch, seq, past in CHECKED_LENGTHS}
        worst = max(largest_difference(ours, graph, proto, *each) for each in sorted(lengths))
        if not worst <= graph.relative_tolerance / 4:
            raise RuntimeError(f"{file} differs from torch by {worst:.1e}")
    path = corpus / file
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, path)
    print(f"{file:52} {path.stat().st_size / 1000:6.1f} kB", flush=True)
    return graph


def _tensor(value: onnx.ValueInfoProto, ours: CorpusGraph, fixed: dict[str, int]) -> Tensor:
    """An input or output with the corpus's names for its lengths; what optimum leaves open is as in our own export."""
    kind = value.type.tensor_type
    known = next((tensor.dims for tensor in (*ours.inputs, *ours.outputs) if tensor.name == value.name), ())
    dims: list[Dim] = []
    for axis, dim in enumerate(kind.shape.dim):
        name = DIMS.get(dim.dim_param, known[axis] if dim.dim_param and known else dim.dim_param)
        dims.append(fixed.get(name, name) if name else dim.dim_value)
    return Tensor(value.name, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name, tuple(dims))


def _plan(family: str) -> Plan:
    folder = next(folder for folder, (_, table) in FOLDERS.items() if family in table)
    exports = FOLDERS[folder][0].exports_of(family)
    return Plan(family, folder, FAMILIES[family], exports)


if __name__ == "__main__":
    raise SystemExit(main())
