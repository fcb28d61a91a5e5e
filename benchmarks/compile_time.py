"""Time and memory of compiling a BERT: how they grow with the layers, and a BERT-large beyond its weights.

    python -m benchmarks.compile_time [-o docs/compile-time.md]

Every model is compiled in a process of its own. Ends with exit code 1 when a figure does not keep to its bar.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.function_calls import LAYERS, bert_model, count_calls, is_linear

LARGE_SECONDS = 20.0
LARGE_BYTES = 1.5e9
"""Bars for a BERT-large: time, and memory beyond its weights."""

_ABOUT = """\
# Time and memory of compiling

Printed by `python -m benchmarks.compile_time -o docs/compile-time.md`: BERT graphs as torch's dynamo exporter writes
them, compiled for `gddr6-aim`, each in a process of its own. Small ones have 64 features and 128 positions; the large
one has 1024 features, 16 heads, 4096 inner features, 512 positions and weights of zeros. Seconds are of CPU; memory is
the largest resident size less what it was before the compiler began and, for the large one, less the weights.
Calls are those of Python functions (a profiler counts them), which depend on no machine.

"""


@dataclass(frozen=True)
class Figure:
    """What compiling one model took.

    Attributes:
        layers: Encoder layers.
        seconds: CPU time.
        memory_bytes: Growth of the largest resident size, without the weights.
        instructions: Of the program.
        calls: Calls of Python functions; 0 when they were not counted.
    """

    layers: int
    seconds: float
    memory_bytes: int
    instructions: int
    calls: int = 0


def compile_once(path: Path, layers: int, weight_bytes: int) -> Figure:
    """Compile a model in this process."""
    from isa import load_machine
    from pimc.compiler import compile_model

    machine = load_machine("gddr6-aim")
    before = _peak_bytes()
    started = time.process_time()
    program = compile_model(path, machine, dims={"batch": 1})
    seconds = time.process_time() - started
    return Figure(layers, seconds, _peak_bytes() - before - weight_bytes, len(program.code))


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measured(path: Path, layers: int, weight_bytes: int) -> Figure:
    """Compile a model in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.compile_time", "--child", str(path), str(layers), str(weight_bytes)]
    return Figure(**json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def all_figures(folder: Path) -> tuple[list[Figure], Figure]:
    """Figures of the small models, and of the large one."""
    small = []
    for layers in LAYERS:
        path = folder / f"bert-{layers}.onnx"
        bert_model(layers).save(path)
        small.append(replace(measured(path, layers, 0), calls=count_calls(path)))
    large = bert_model(24, large=True)
    large.save(folder / "bert-large.onnx")
    weight_bytes = sum(weight.size_bytes for weight in large.weights)
    return small, measured(folder / "bert-large.onnx", 24, weight_bytes)


def document(small: Sequence[Figure], large: Figure) -> str:
    """The figures as Markdown tables, and whether the bars are kept."""
    rows = [
        "| layers | seconds | seconds a layer | MB | instructions | calls | more calls a layer |",
        "|-------:|--------:|----------------:|---:|-------------:|------:|-------------------:|",
    ]
    for number, figure in enumerate(small):
        earlier = small[number - 1] if number else None
        more = "" if earlier is None else f"{(figure.calls - earlier.calls) / (figure.layers - earlier.layers):,.0f}"
        rows.append(
            f"| {figure.layers} | {figure.seconds:.2f} | {figure.seconds / figure.layers:.3f} "
            f"| {figure.memory_bytes / 1e6:.0f} | {figure.instructions:,} | {figure.calls:,} | {more} |"
        )
    return "\n".join([_ABOUT + "\n".join(rows), "", _large_line(large), "", _linear_line(small), ""])


def _large_line(large: Figure) -> str:
    kept = "kept" if _large_is_kept(large) else "MISSED"
    return (
        f"BERT-large, 24 layers: {large.seconds:.1f} s (bar {LARGE_SECONDS:.0f} s), {large.memory_bytes / 1e9:.2f} GB"
        f" beyond its weights (bar {LARGE_BYTES / 1e9:.1f} GB), {large.instructions:,} instructions: {kept}."
    )


def _linear_line(small: Sequence[Figure]) -> str:
    verdict = "kept" if is_linear([figure.calls for figure in small]) else "MISSED"
    return f"Calls grow linearly in layers (within 5 %): {verdict}."


def _large_is_kept(large: Figure) -> bool:
    return large.seconds < LARGE_SECONDS and large.memory_bytes < LARGE_BYTES


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compile_time", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="also write the tables to this Markdown file")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        path, layers, weight_bytes = options.child
        print(json.dumps(asdict(compile_once(Path(path), int(layers), int(weight_bytes)))))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        small, large = all_figures(Path(folder))
    text = document(small, large)
    print(text)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")
    return 0 if _large_is_kept(large) and is_linear([figure.calls for figure in small]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
