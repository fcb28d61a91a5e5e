"""Options that compile, verify and generate share: how a model becomes a program."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace

DEFAULT_MACHINE = "gddr6-aim"


def add_model_options(parser: ArgumentParser, numerics: str) -> None:
    """Declare the model and the options of its compilation.

    Args:
        parser: Parser of the subcommand.
        numerics: Default of `--numerics`.
    """
    parser.add_argument("model", metavar="MODEL.onnx", help="the model")
    group = parser.add_argument_group("compilation")
    group.add_argument(
        "-m", "--machine", default=DEFAULT_MACHINE, help=f"bundled machine or YAML file (default {DEFAULT_MACHINE})"
    )
    group.add_argument(
        "--dim", action="append", default=[], type=_dimension, metavar="NAME=N", help="bind a dimension of the model"
    )
    group.add_argument(
        "--max-context", type=_positive, metavar="N", help="tokens to reserve KV cache for"
    )
    group.add_argument(
        "--numerics",
        choices=("machine", "fp32"),
        default=numerics,
        help=f"round as the hardware does, or keep binary32 everywhere (default {numerics})",
    )
    group.add_argument("-O0", dest="optimize", action="store_false", help="turn every optional pass off")
    group.add_argument("--pipeline", metavar="PASSES", help="a named pipeline, or passes as 'a,b{x=1},c' (see pimc passes)")


def dimensions(options: Namespace) -> dict[str, int]:
    """The bound dimensions of `--dim`.

    Raises:
        InputError: one dimension has two values.
    """
    bound: dict[str, int] = {}
    for name, value in options.dim:
        if bound.setdefault(name, value) != value:
            from isa import InputError

            raise InputError(f"--dim {name} is {bound[name]} and {value}", help="give it once")
    return bound


def _dimension(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"([^=]+)=(\d+)", text)
    if not match:
        raise ArgumentTypeError(f"'{text}' is not NAME=N, for example batch=1")
    return match[1].strip(), int(match[2])


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"'{text}' is not a positive number")
    return int(text)
