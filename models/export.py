"""Writes the corpus: tiny random transformers of all families as torch's two ONNX exporters spell them.

The graphs are inputs of tests. Their weights are random and seeded; what matters is the spelling.

    python models/export.py [--family llama ...] [--exporter dynamo ...] [--mode kv ...] [--missing]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from corpus_manifest import CORPUS, add_to_manifest

EXPORTERS = ("torchscript", "dynamo")


def main() -> int:
    """Exports the graphs that were asked for; returns the exit code."""
    options = _parser().parse_args()
    try:
        import corpus_plan
    except ModuleNotFoundError as error:
        print(f"export.py: the package {error.name!r} is missing: pip install 'pimc[zoo]'", file=sys.stderr)
        return 5
    failures = 0
    for job in corpus_plan.jobs():
        wanted = (
            job.family in (options.family or (job.family,))
            and job.exporter in (options.exporter or (job.exporter,))
            and job.mode in (options.mode or (job.mode,))
        )
        if not wanted or (options.missing and (options.output / job.file).exists()):
            continue
        started = time.monotonic()
        try:
            graph = corpus_plan.run(job, options.output)
        except Exception as error:  # an exporter may raise anything; the others go on
            failures += 1
            print(f"{job.file}: {type(error).__name__}: {_first_line(error)}", file=sys.stderr, flush=True)
            continue
        add_to_manifest([graph], options.output / "manifest.json")
        size = (options.output / job.file).stat().st_size
        print(f"{job.file:44} {size / 1000:6.1f} kB {time.monotonic() - started:5.1f} s", flush=True)
    return 1 if failures else 0


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "")[:300]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", nargs="+", help="which models (default: all)")
    parser.add_argument("--exporter", nargs="+", choices=EXPORTERS, help="by which exporters (default: both)")
    parser.add_argument("--mode", nargs="+", help="plain, kv, encoder, decoder, decoder_with_past, vision ...")
    parser.add_argument("--missing", action="store_true", help="only graphs that are not there yet")
    parser.add_argument("-o", "--output", type=Path, default=CORPUS, help="folder to write to (default: models/corpus)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
