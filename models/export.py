"""Writes the corpus: tiny random GPT-2, Llama and BERT models as each of torch's two ONNX exporters spells them.

The graphs are inputs of the frontend's tests. Their weights are random and seeded; what matters is the spelling.

    python models/export.py [--family llama ...] [--exporter dynamo ...] [-o models/corpus]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

FAMILIES = ("gpt2", "llama", "bert")
EXPORTERS = ("dynamo", "torchscript")
VOCABULARY, HIDDEN, LAYERS, HEADS, POSITIONS = 32, 32, 2, 4, 64
HEAD_DIM = HIDDEN // HEADS
KV_HEADS = 2
SEED = 20


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
        import exporters
    except ModuleNotFoundError as error:
        print(f"export.py: the package {error.name!r} is missing: pip install 'pimc[train]'", file=sys.stderr)
        return 5
    options.output.mkdir(parents=True, exist_ok=True)
    for family in options.family:
        export = _DESCRIBE[family](exporters)
        for exporter in options.exporter:
            path = options.output / f"{family}-{exporter}.onnx"
            _write(exporters, export, exporter, path)
            print(f"{path.name:24} {path.stat().st_size / 1000:7.1f} kB")
    return 0


def _write(exporters, export, exporter: str, path: Path) -> None:
    """Exports one model, checks it and writes it to `path` in one file."""
    import onnx

    if exporter == "dynamo":
        model = exporters.export_dynamo(export)
    else:
        with tempfile.TemporaryDirectory() as folder:
            model = exporters.export_torchscript(export, Path(folder) / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    for batch, sequence, past in ((1, 1, 0), (1, 4, 0), (3, 1, 7), (2, 3, 9)):
        difference = exporters.largest_difference(export, model, batch, sequence, past)
        if difference > 1e-4:
            raise SystemExit(f"export.py: {path.name} differs by {difference:.1e} at past length {past}")
    onnx.save(model, path)


def _gpt2(exporters):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=POSITIONS,
        n_embd=HIDDEN,
        n_layer=LAYERS,
        n_head=HEADS,
        n_inner=2 * HIDDEN,
        bos_token_id=0,
        eos_token_id=0,
    )
    return exporters.decoder_export(_randomised(GPT2LMHeadModel(config)), LAYERS, HEADS, HEAD_DIM)


def _llama(exporters):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=POSITIONS,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        intermediate_size=16,
        bos_token_id=0,
        eos_token_id=0,
    )
    return exporters.decoder_export(_randomised(LlamaForCausalLM(config)), LAYERS, KV_HEADS, HEAD_DIM)


def _bert(exporters):
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=POSITIONS,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=2 * HIDDEN,
    )
    return exporters.encoder_export(_randomised(BertModel(config, add_pooling_layer=False)))


def _randomised(model):
    """Replaces the near-constant initial weights, so that no error hides behind a bias of 0 or a scale of 1."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_scale = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(1 + 0.1 * noise if is_scale else 0.2 * noise)
    return model


_DESCRIBE: dict[str, Callable] = {"gpt2": _gpt2, "llama": _llama, "bert": _bert}

if __name__ == "__main__":
    raise SystemExit(main())
