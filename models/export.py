"""Writes the corpus: tiny random GPT-2, Llama and BERT models as each of torch's two ONNX exporters spells them.

The graphs are inputs of the frontend's tests. Their weights are random and seeded; what matters is the spelling.

    python models/export.py [--family llama ...] [--exporter dynamo ...] [-o models/corpus]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from exporters import Export

FAMILIES = ("gpt2", "llama", "bert")
EXPORTERS = ("dynamo", "torchscript")
CHECKED_LENGTHS = ((1, 1, 0), (1, 4, 0), (3, 1, 7), (2, 3, 9))
"""Batch, new and past tokens at which an exported graph is compared with torch."""


def main() -> int:
    """Exports the graphs that were asked for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="export.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=FAMILIES, help="which models (default: all)")
    parser.add_argument("--exporter", nargs="+", choices=EXPORTERS, default=EXPORTERS, help="by which exporters")
    folder = Path(__file__).parent / "corpus"
    parser.add_argument("-o", "--output", type=Path, default=folder, help="folder to write to (default: models/corpus)")
    options = parser.parse_args()
    try:
        import corpus_models
    except ModuleNotFoundError as error:
        print(f"export.py: the package {error.name!r} is missing: pip install 'pimc[train]'", file=sys.stderr)
        return 5
    options.output.mkdir(parents=True, exist_ok=True)
    for family in options.family:
        export = corpus_models.FAMILIES[family]()
        for exporter in options.exporter:
            path = options.output / f"{family}-{exporter}.onnx"
            write(export, exporter, path)
            print(f"{path.name:24} {path.stat().st_size / 1000:7.1f} kB")
    return 0


def write(export: Export, exporter: str, path: Path) -> None:
    """Exports one model, compares it with torch and writes it to `path` in one file.

    Raises:
        SystemExit: when the graph computes something else than torch.
    """
    from exporters import export_dynamo, export_torchscript, largest_difference

    if exporter == "dynamo":
        model = export_dynamo(export)
    else:
        with tempfile.TemporaryDirectory() as folder:
            model = export_torchscript(export, Path(folder) / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    for batch, sequence, past in CHECKED_LENGTHS:
        difference = largest_difference(export, model, batch, sequence, past)
        if difference > 1e-4:
            raise SystemExit(f"export.py: {path.name} differs by {difference:.1e} at past length {past}")
    onnx.save(model, path)


if __name__ == "__main__":
    raise SystemExit(main())
