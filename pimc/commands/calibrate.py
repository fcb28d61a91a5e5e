"""`pimc calibrate`: thresholds of pruning policies for every layer of a model, found on a text."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING, NamedTuple

from pimc.commands.command import Command
from pimc.commands.model_options import add_model_options, bound_dimensions, bound_values, positive

if TYPE_CHECKING:
    from passes import KvSpecification
    from pimc.calibration import Calibration, Model
    from pimc.evaluation.windows import Windows
    from pimc.report.terminal import Terminal


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
        if kind == "perplexity" and number.startswith("+") and number.endswith("%"):
            return _Target(kind, float(number[1:-1]) / 100)
    except ValueError:
        pass
    raise ArgumentTypeError(f"'{text}' is neither sparsity=SHARE (0 to below 1) nor perplexity=+PERCENT%")


def _add_arguments(parser: ArgumentParser) -> None:
    add_model_options(parser, numerics="machine")
    parser.add_argument("--text", required=True, metavar="FILE", help="the text, in UTF-8")
    parser.add_argument("--kv", required=True, metavar="POLICIES", help="policies whose thresholds are wanted: cpq:...")
    wanted = "sparsity=0.34: prune this share of each layer; perplexity=+1%%: prune while it grows by no more"
    parser.add_argument("--target", required=True, type=_target, metavar="WHAT", help=wanted)
    parser.add_argument("-o", "--output", required=True, metavar="F.kv", help="write the specification, for --kv @F.kv")
    parser.add_argument("--window", type=positive, default=512, metavar="N", help="tokens of a window (default 512)")
    parser.add_argument("--limit", type=positive, metavar="N", help="read N windows at most")


def _run(options: Namespace) -> int:
    from passes import load_kv, parse_kv
    from pimc.files import check_output, write_text
    from pimc.report.calibration import calibration_json, print_calibration, specification_file
    from pimc.report.terminal import Terminal, print_json

    check_output(options.output)
    terminal, specification = Terminal(options.color, options.quiet), load_kv(options.kv)
    windows = _windows(options)
    with terminal.status(f"compiling {options.model}"):
        model = _model(options)
    found = _calibration(options.target, terminal, model, windows, specification)
    parse_kv(found.specification)
    write_text(options.output, specification_file(found, options.model, options.text, windows))
    if options.json:
        print_json(calibration_json(found, options.output))
    else:
        print_calibration(terminal, found, options.output)
    return 0


def _calibration(
    target: _Target, terminal: Terminal, model: Model, windows: Windows, specification: KvSpecification
) -> Calibration:
    from pimc.calibration import SEARCH_RUNS, calibrate, collect, search

    tokens = windows.count * windows.size
    is_search = target.kind == "perplexity"
    with terminal.progress("reading", tokens * (1 + SEARCH_RUNS * is_search)) as progress:
        elements = collect(model, windows, lambda count: progress(count, "exact keys and values"))
        if not is_search:
            return calibrate(specification, elements, target.share)
        return search(
            model, windows, specification, elements, target.share, lambda count: progress(count, "perplexity")
        )


def _model(options: Namespace) -> Model:
    """The model with exact caches; raises `UnsupportedError` unless it is a language model with a cache."""
    from isa import load_machine
    from pimc.calibration import Model, rounding
    from pimc.compiler import compile_model
    from pimc.evaluation.runner import check_language_model
    from pimc.observing import Record

    record = Record()
    chosen = (options.max_context or options.window, options.numerics, options.pipeline, options.optimize)
    dims, bind = bound_dimensions(options), bound_values(options)
    machine = load_machine(options.machine)
    program = compile_model(options.model, machine, dims, *chosen, (record,), weights=False, bind=bind)
    check_language_model(program)
    return Model(record.graphs[0], program, rounding(options.numerics))


def _windows(options: Namespace) -> Windows:
    from pimc.evaluation.windows import cut_windows
    from pimc.file_kinds import FileKind, check_kind
    from pimc.files import read_text
    from pimc.text_model import load_text_model

    check_kind(options.model, FileKind.MODEL)
    text = read_text(options.text)
    tokens = load_text_model(options.model, {}).tokenizer.encode(text, add_special_tokens=False).ids
    return cut_windows(tokens, options.window, options.window, options.limit)


COMMAND = Command(
    name="calibrate",
    summary="find thresholds of a pruning KV-cache policy on a text",
    description="Reads a text exactly, window by window, and finds for every layer the magnitudes below which the\n"
    "wanted share of its keys, and of its values, lies; or the largest share with which the perplexity grows by no\n"
    "more than wanted. Writes a specification for --kv @FILE with the survivors that were measured.",
    examples=(
        "pimc calibrate model.onnx --text t.txt --kv cpq:bits_k=4,bits_v=4 --target sparsity=0.34 -o cpq.kv",
        "pimc calibrate model.onnx --text t.txt --kv cpq:bits_k=6,bits_v=6 --target perplexity=+1% -o cpq.kv",
    ),
    add_arguments=_add_arguments,
    run=_run,
)
