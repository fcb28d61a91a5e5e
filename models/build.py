"""Builds a GPT-2-, OPT-, Llama- or BERT-like model of any shape as ONNX, with random weights or with none.

    python models/build.py llama --layers 2 --hidden 64 --heads 4 --kv-heads 2 -o out.onnx
    python models/build.py llama --preset llama-2-7b --no-weights -o llama-2-7b.onnx
    python models/build.py gpt2 --spelling torchscript --seed 7 -o out.onnx

Without weights the values are a sparse file of zeros beside the graph: any size costs neither disk nor memory. A
preset gives a published model's shape; options after it change single values. `build.py FAMILY --help` lists them.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import types
import typing
from pathlib import Path

import onnx
from bert import BertConfig, build_bert
from gpt2 import Gpt2Config, build_gpt2
from llama import LlamaConfig, build_llama
from model_weights import AbsentWeights, RandomWeights
from opt import OptConfig, build_opt
from spellings import SPELLINGS

FAMILIES = {
    "llama": (LlamaConfig, build_llama),
    "gpt2": (Gpt2Config, build_gpt2),
    "opt": (OptConfig, build_opt),
    "bert": (BertConfig, build_bert),
}
PRESETS = {
    "llama-2-7b": LlamaConfig(32000, 4096, 32, 32, 32, 128, 11008),
    "llama-2-13b": LlamaConfig(32000, 5120, 40, 40, 40, 128, 13824),
    "llama-3-8b": LlamaConfig(128256, 4096, 32, 32, 8, 128, 14336, rope_theta=500000.0),
    "mistral-7b": LlamaConfig(32000, 4096, 32, 32, 8, 128, 14336, window=4096),
    "smollm2-135m": LlamaConfig(49152, 576, 30, 9, 3, 64, 1536, rope_theta=100000.0, tied=True),
    "gpt2-small": Gpt2Config(50257, 1024, 768, 12, 12),
    "gpt2-xl": Gpt2Config(50257, 1024, 1600, 48, 25),
    "opt-125m": OptConfig(50272, 2048, 768, 12, 12, 3072),
    "opt-6.7b": OptConfig(50272, 2048, 4096, 32, 32, 16384),
    "bert-base": BertConfig(30522, 512, 2, 768, 12, 12, 3072),
    "bert-large": BertConfig(30522, 512, 2, 1024, 24, 16, 4096),
}
"""Shapes as the models' published configurations give them."""


def main() -> int:
    """Builds one model and writes it; returns the exit code."""
    parser = _parser()
    options = parser.parse_args()
    config_type, build = FAMILIES[options.family]
    try:
        config = _config(config_type, options)
    except ValueError as error:
        parser.error(str(error))
    weights = AbsentWeights() if options.no_weights else RandomWeights(options.seed)
    metadata = {"source": f"built with {'no' if options.no_weights else 'random'} weights", "config": repr(config)}
    model = build(config, weights, options.spelling, metadata)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    model.save(options.output)
    onnx.checker.check_model(str(options.output))
    count = sum(weight.size_bytes for weight in model.weights) // 4
    print(f"{options.output}: {len(model.skeleton.graph.node)} nodes, {count / 1e6:.2f} M weights")
    return 0


def _parser() -> argparse.ArgumentParser:
    """Makes one subcommand a family, with one option a field of its configuration."""
    parser = argparse.ArgumentParser(
        prog="build.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    families = parser.add_subparsers(dest="family", required=True, metavar="FAMILY", help="llama, gpt2, opt or bert")
    for family, (config_type, _) in FAMILIES.items():
        command = families.add_parser(
            family, help=f"a {family}-like model", description=f"Builds a {family}-like model."
        )
        command.add_argument("-o", "--output", type=Path, required=True, help="the .onnx file to write")
        command.add_argument("--spelling", choices=list(SPELLINGS), default="dynamo", help="whose ONNX to imitate")
        command.add_argument("--seed", type=int, default=0, help="of the random weights (default: 0)")
        command.add_argument("--no-weights", action="store_true", help="store shapes only, over a sparse file")
        presets = [name for name, preset in PRESETS.items() if isinstance(preset, config_type)]
        command.add_argument("--preset", choices=presets, help="start from a published shape")
        shape = command.add_argument_group("shape")
        for field in dataclasses.fields(config_type):
            _add_field(shape, config_type, field)
    return parser


def _add_field(group: argparse._ArgumentGroup, config_type: type, field: dataclasses.Field) -> None:
    """Adds the option of a configuration's field; its help is the field's line in the docstring."""
    option = "--" + field.name.replace("_", "-")
    text = f"{_field_help(config_type, field.name)} (default: {field.default})"
    if isinstance(field.default, bool):
        group.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=text)
    else:
        group.add_argument(option, type=_value_type(config_type, field.name), default=None, help=text)


def _value_type(config_type: type, name: str) -> type:
    """Returns int or float, whichever the field holds besides None."""
    hint = typing.get_type_hints(config_type)[name]
    return next(kind for kind in typing.get_args(hint) or (hint,) if kind is not types.NoneType)


def _config(config_type: type, options: argparse.Namespace) -> LlamaConfig | Gpt2Config | OptConfig | BertConfig:
    """Returns the preset, or the default shape, with the values that were given.

    Raises:
        ValueError: when the values do not fit together.
    """
    base = PRESETS[options.preset] if options.preset else config_type()
    names = [field.name for field in dataclasses.fields(config_type)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return dataclasses.replace(base, **given)


def _field_help(config_type: type, name: str) -> str:
    """Returns what the configuration's docstring says on a field, in one line."""
    found = re.search(rf"^ +{name}: (.*?)(?=^ +\w+: |\Z)", config_type.__doc__ or "", re.MULTILINE | re.DOTALL)
    return " ".join(found.group(1).split()).rstrip(".") if found else name


if __name__ == "__main__":
    raise SystemExit(main())
