"""`pimc calibrate`: thresholds and bits of policies for every layer of a model, found on a text."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING, NamedTuple

from pimc.commands.command import Command
from pimc.commands.model_options import add_model_options, bound_dimensions, bound_values, chosen_units, positive

if TYPE_CHECKING:
    from pimc.calibration.model import Model
    from pimc.calibration.search import Goal
    from pimc.evaluation.windows import Windows


class _Target(NamedTuple):
    """What is wanted.

    Attributes:
        kind: `sparsity` or `perplexity`.
        share: Share of elements to prune, or by which the perplexity may grow.
    """

    kind: str
    share: float


def _target(text: str) -> _Target:
    kind, _, number = text.partition("=")
    try:
        if kind == "sparsity" and 0 <= float(number) < 1:
            return _Target(kind, float(number))
        is_growth = kind == "perplexity" and number.startswith("+") and number.endswith("%")
        if is_growth and 0 <= float(number[1:-1]) < math.inf:
            return _Target(kind, float(number[1:-1]) / 100)
    except ValueError:
        pass
    raise ArgumentTypeError(f"'{text}' is neither sparsity=SHARE (0 to below 1) nor perplexity=+PERCENT%")


def _add_arguments(parser: ArgumentParser) -> None:
    add_model_options(parser, numerics="machine")
    parser.add_argument("--text", required=True, metavar="FILE", help="the text, in UTF-8")
    parser.add_argument("--kv", required=True, metavar="POLICIES", help="policies that are calibrated: cpq:...")
    wanted = "sparsity=0.34: prune this share of each layer; perplexity=+1%%: as long as it grows by no more"
    parser.add_argument("--target", required=True, type=_target, action="append", metavar="WHAT", help=wanted)
    bits = "find the bits of each layer's codes, too, for the perplexity; with both targets for the given sparsity"
    parser.add_argument("--bits", action="store_true", help=bits)
    parser.add_argument("-o", "--output", required=True, metavar="F.kv", help="write the specification, for --kv @F.kv")
    parser.add_argument("--window", type=positive, default=512, metavar="N", help="tokens of a window (default 512)")
    parser.add_argument("--limit", type=positive, metavar="N", help="read N windows at most")


def _run(options: Namespace) -> int:
    from passes import load_kv, parse_kv
    from pimc.calibration.search import solve, task_of
    from pimc.files import check_output, write_text
    from pimc.report.calibration import calibration_json, print_calibration, specification_file
    from pimc.report.terminal import Terminal, print_json

    check_output(options.output)
    goal, terminal, specification = _goal(options), Terminal(options.color, options.quiet), load_kv(options.kv)
    windows = _windows(options)
    with terminal.status(f"compiling {options.model}"):
        task = task_of(_model(options), windows, specification, goal)
    with terminal.progress("reading", task.tokens) as progress:
        found = solve(task, progress)
    parse_kv(found.specification)
    write_text(options.output, specification_file(found, options.model, options.text, windows))
    if options.json:
        print_json(calibration_json(found, options.output))
    else:
        print_calibration(terminal, found, options.output)
    return 0


def _goal(options: Namespace) -> Goal:
    """What the options ask for; raises `InputError` when they contradict each other."""
    from isa import InputError
    from pimc.calibration.search import Goal

    shares = {target.kind: target.share for target in options.target}
    if len(shares) < len(options.target):
        raise InputError("a target is given twice", help="give one sparsity and one perplexity at most")
    if options.bits and "perplexity" not in shares:
        raise InputError(
            "fewer bits change the perplexity, and --bits needs to know how far", help="give --target perplexity=+1%"
        )
    if len(shares) > 1 and not options.bits:
        raise InputError(
            "the sparsity alone gives the thresholds, and nothing is left to be found for the perplexity",
            help="give one of the two targets, or --bits to find bits of codes for the perplexity",
        )
    return Goal(shares.get("sparsity"), shares.get("perplexity"), options.bits)


def _model(options: Namespace) -> Model:
    """The model with exact caches; raises `UnsupportedError` unless it is a language model with a cache."""
    from isa import load_machine
    from pimc.calibration.model import Model
    from pimc.compiler import compile_model
    from pimc.evaluation.runner import check_language_model
    from pimc.observing import Record
    from pimc.policy_verification import storing

    record = Record()
    chosen = (options.max_context or options.window, options.numerics, options.pipeline, options.optimize)
    dims, bind = bound_dimensions(options), bound_values(options)
    machine = load_machine(options.machine)
    units = chosen_units(options)
    program = compile_model(options.model, machine, dims, *chosen, (record,), weights=False, bind=bind, units=units)
    check_language_model(program)
    return Model(record.graphs[0], program, storing(options.numerics))


def _windows(options: Namespace) -> Windows:
    from pimc.evaluation.windows import cut_windows
    from pimc.file_kinds import FileKind, check_kind
    from pimc.files import read_text
    from pimc.text_model import load_text_model

    check_kind(options.model, FileKind.MODEL)
    text = read_text(options.text)
    tokens = load_text_model(options.model, {}).tokenizer.encode(text, add_special_tokens=False).ids
    return cut_windows(tokens, options.window, options.window, options.limit, options.text)


COMMAND = Command(
    name="calibrate",
    summary="find thresholds and bits of KV-cache policies on a text",
    description="Reads a text exactly, window by window, and finds for every layer the magnitudes below which the\n"
    "wanted share of its keys, and of its values, lies; or the largest share with which the perplexity grows by no\n"
    "more than wanted. With --bits it also finds how many bits the codes of each layer need, keys and values\n"
    "apart (of cpq 2 to 8, of kivi and int 2, 4 or 8), whatever --kv says about them. Writes a\n"
    "specification for --kv @FILE with the survivors that were measured.",
    examples=(
        "pimc calibrate model.onnx --text t.txt --kv cpq:bits_k=4,bits_v=4 --target sparsity=0.34 -o cpq.kv",
        "pimc calibrate model.onnx --text t.txt --kv cpq:bits_k=6,bits_v=6 --target perplexity=+1% -o cpq.kv",
        "pimc calibrate model.onnx --text t.txt --kv kivi --target perplexity=+1% --bits -o kivi.kv",
        "pimc calibrate model.onnx --text t.txt --kv cpq --target sparsity=0.34 --target perplexity=+2% --bits -o t.kv",
    ),
    add_arguments=_add_arguments,
    run=_run,
)
