"""Options that compile, verify and generate share: how a model becomes a program."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pimc.commands.blame import blaming

if TYPE_CHECKING:
    from isa import Machine, Program
    from passes import KvSpecification, UnitSpecification
    from pimc.compiler import Observer
    from pimc.report.terminal import Terminal

DEFAULT_MACHINE = "gddr6-aim"


def add_model_options(parser: ArgumentParser, numerics: str) -> None:
    """Declare the model and the options of its compilation.

    Args:
        parser: Parser of the subcommand.
        numerics: Default of `--numerics`.
    """
    parser.add_argument("model", metavar="MODEL", help="ONNX file, or folder with an encoder's and its decoders' files")
    add_dimensions(parser)
    group = parser.add_argument_group("compilation")
    group.add_argument(
        "-m", "--machine", default=DEFAULT_MACHINE, help=f"bundled machine or YAML file (default {DEFAULT_MACHINE})"
    )
    group.add_argument("--max-context", type=positive, metavar="N", help="tokens to reserve KV cache for")
    group.add_argument(
        "--numerics",
        choices=("machine", "fp32"),
        default=numerics,
        help=f"round as the hardware does, or keep binary32 everywhere (default {numerics})",
    )
    group.add_argument("-O0", dest="optimize", action="store_false", help="turn every optional pass off")
    group.add_argument("--pipeline", metavar="PASSES", help="passes to run, as 'a,b{x=1},c', or one of pimc passes")
    group.add_argument(
        "--units",
        metavar="UNITS",
        help="units for blocks, on machines with several: products=crossbar,attention=banks,NODE=UNIT (default: cost)",
    )


def add_policies(parser: ArgumentParser) -> None:
    """Declare `--kv`."""
    parser.add_argument("--kv", metavar="POLICIES", help="compress the KV cache: see pimc policies")


def add_dimensions(parser: ArgumentParser) -> None:
    """Declare `--dim` and `--bind`."""
    parser.add_argument(
        "--dim", action="append", default=[], type=_dimension, metavar="NAME=N", help="bind a dimension of the model"
    )
    parser.add_argument(
        "--bind",
        action="append",
        default=[],
        type=_binding,
        metavar="NAME=VALUE",
        help="make an input a constant: true, false, a number or a list as JSON",
    )


def chosen_policies(options: Namespace) -> KvSpecification | None:
    """The policies that `--kv` names; raises `InputError` when they are refused."""
    from passes import load_kv

    return None if options.kv is None else load_kv(options.kv)


def chosen_units(options: Namespace) -> UnitSpecification | None:
    """The units that `--units` names; raises `InputError` when they are refused."""
    from passes import parse_units

    return None if options.units is None else parse_units(options.units)


def bound_values(options: Namespace) -> dict[str, Any]:
    """The values that `--bind` gives, by input name; raises `InputError` when an input has two."""
    from isa import InputError

    bound: dict[str, Any] = {}
    for name, value in options.bind:
        if bound.setdefault(name, value) != value:
            raise InputError(f"--bind {name} is {bound[name]} and {value}", help="give it once")
    return bound


def bound_dimensions(options: Namespace, inputs: str | None = None) -> dict[str, int]:
    """The dimensions that `--dim` binds, and those of the first axes that the arrays of an npz file show.

    Lengths, which are later axes, stay symbolic: one program serves all of them.

    Raises:
        InputError: a dimension has two values, or the npz file does not fit the model.
    """
    from isa import InputError

    bound: dict[str, int] = {}
    for name, value in options.dim:
        if bound.setdefault(name, value) != value:
            raise InputError(f"--dim {name} is {bound[name]} and {value}", help="give it once")
    if inputs is not None:
        from pimc.arrays import read_arrays
        from pimc.model_folder import folder_dimensions, is_folder, load_folder
        from pimc.model_inputs import first_dimensions

        arrays = read_arrays(inputs)
        with blaming(inputs):
            if is_folder(options.model):
                return folder_dimensions(load_folder(options.model), arrays) | bound
            bound = first_dimensions(options.model, arrays) | bound
    return bound


def compile_with(
    options: Namespace, machine: Machine, observers: Sequence[Observer] = (), inputs: str | None = None
) -> Program:
    """Compile the model of `options`, `--kv` among them, as they say; `inputs` is an npz file that binds dimensions."""
    from pimc.compiler import compile_model
    from pimc.file_kinds import FileKind, check_kind

    check_kind(options.model, FileKind.MODEL)
    dims = bound_dimensions(options, inputs)
    chosen = (options.max_context, options.numerics, options.pipeline, options.optimize)
    bind, policies = bound_values(options), chosen_policies(options)
    return compile_model(
        options.model, machine, dims, *chosen, observers, bind=bind, kv=policies, units=chosen_units(options)
    )


def _dimension(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"([^=]+)=(\d+)", text)
    if not match:
        raise ArgumentTypeError(f"'{text}' is not NAME=N, for example batch=1")
    return match[1].strip(), int(match[2])


def _binding(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    try:
        if not name or not equals:
            raise ValueError
        return name.strip(), json.loads(value, parse_constant=_no_constant)
    except ValueError:
        raise ArgumentTypeError(
            f"'{text}' is not NAME=VALUE with a JSON value, for example use_cache_branch=true"
        ) from None


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def positive(text: str) -> int:
    """The number of an option that takes a positive one."""
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"'{text}' is not a positive number")
    return int(text)


def note_idle_wishes(terminal: Terminal, program: Program, tokens: int | None = None) -> None:
    """Note which policies do not act, and which blocks do not run where the user wants them.

    Args:
        terminal: Where to say it.
        program: What came of the wishes.
        tokens: Tokens of the longest sequence; default: the longest context.
    """
    from pimc.report.policies import say_idle
    from pimc.report.units import say_unmet

    say_idle(terminal, program, tokens)
    say_unmet(terminal, program)
