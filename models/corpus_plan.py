"""Which graphs the corpus has: every family by both exporters, and the newest operator sets of a few.

Needs the extra `zoo`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import corpus_decoders
import corpus_encoders
import corpus_seq2seq
import corpus_vision
from corpus_manifest import CorpusGraph
from exporters import DYNAMO_OPSET, TORCHSCRIPT_OPSET, Export, write_export

MAIN_MODES = ("kv", "encoder", "vision", "text-vision")
"""These are not named in a file's name."""
FOLDERS_OF_THE_FIRST = {"gpt2": "decoders/", "llama": "decoders/", "bert": "encoders/"}
"""Families whose main graphs lie in the corpus folder itself, where tests ask for them by name."""
OPSETS = {"torchscript": TORCHSCRIPT_OPSET, "dynamo": DYNAMO_OPSET}
NEWER_OPSETS = {
    "llama": (23, 24), "gpt2": (23,), "bert": (23,), "gemma2": (23,), "mistral": (23, 24), "modernbert": (24,),
}  # fmt: skip
EAGER = ("gpt2", "llama", "mistral", "bert", "vit", "whisper")
"""Families that are also exported with attention spelled out by the model, in place of torch's own."""


@dataclass(frozen=True)
class Job:
    """One graph to be written: the file below the corpus, its facts, and how to make the model."""

    file: str
    family: str
    mode: str
    exporter: str
    opset: int
    make: Callable[[], Export]


def jobs() -> Iterator[Job]:
    """All graphs, the cheap exporter's first."""
    for exporter in ("torchscript", "dynamo"):
        for folder, family, modes in _families():
            yield from (_job(folder, family, mode, exporter, make) for mode, make in modes.items())
            if family in EAGER:
                yield from (
                    _eager(_job(folder, family, mode, exporter, modes[mode])) for mode in modes if mode != "plain"
                )
    for folder, family, modes in _families():
        mode = next((mode for mode in modes if mode in MAIN_MODES), "")
        for opset in NEWER_OPSETS.get(family, ()):
            yield Job(f"{folder}/{family}-dynamo-op{opset}.onnx", family, mode, "dynamo", opset, modes[mode])


def run(job: Job, corpus: Path) -> CorpusGraph:
    """Writes one graph below the folder `corpus` and returns its row of the manifest."""
    return write_export(job.make(), job.exporter, job.opset, job.file, corpus)


def _families() -> Iterator[tuple[str, str, dict[str, Callable[[], Export]]]]:
    for folder, module, table in (
        ("decoders", corpus_decoders, corpus_decoders.DECODERS),
        ("encoders", corpus_encoders, corpus_encoders.ENCODERS),
        ("encoder-decoders", corpus_seq2seq, corpus_seq2seq.ENCODER_DECODERS),
        ("vision", corpus_vision, (*corpus_vision.IMAGE_ENCODERS, *corpus_vision.PAIRS)),
    ):
        yield from ((folder, family, module.exports_of(family)) for family in table)


def _job(folder: str, family: str, mode: str, exporter: str, make: Callable[[], Export]) -> Job:
    if folder == "encoder-decoders":
        name = f"{folder}/{family}-{exporter}/{mode}.onnx"
        return Job(name, family, mode, exporter, OPSETS[exporter], make)
    name = f"{family}-{exporter}" + ("" if mode in MAIN_MODES else f"-{mode}")
    at_top = family in FOLDERS_OF_THE_FIRST and mode in MAIN_MODES
    return Job(f"{name}.onnx" if at_top else f"{folder}/{name}.onnx", family, mode, exporter, OPSETS[exporter], make)


def _eager(job: Job) -> Job:
    """The same graph with attention spelled out, under a name that says so."""
    folder = "" if "/" in job.file else FOLDERS_OF_THE_FIRST[job.family]
    name = f"{job.family}-{job.exporter}"
    file = folder + job.file.replace(name, f"{name}-eager")
    return replace(job, file=file, make=lambda: _with_eager_attention(job.make()))


def _with_eager_attention(export: Export) -> Export:
    export.model.set_attn_implementation("eager")
    return export
