"""`pimc eval`: perplexity, memory, time and energy of KV-cache policies over a text."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pimc.commands.command import Command
from pimc.commands.model_options import add_model_options, bound_dimensions, bound_values, chosen_units, positive

if TYPE_CHECKING:
    from isa import Machine, Program
    from passes import KvSpecification
    from pimc.evaluation.attention_error import AttentionError
    from pimc.evaluation.results import Evaluation
    from pimc.evaluation.runner import Plan
    from pimc.evaluation.windows import Windows
    from pimc.report.terminal import Terminal


def _lengths(text: str) -> tuple[int, ...]:
    return tuple(positive(part.strip()) for part in text.split(","))


def _add_arguments(parser: ArgumentParser) -> None:
    add_model_options(parser, numerics="machine")
    parser.add_argument("--text", required=True, metavar="FILE", help="the text, in UTF-8")
    compared = "compare these, see pimc policies; none is always the first"
    parser.add_argument("--kv", action="extend", nargs="+", default=[], metavar="POLICIES", help=compared)
    parser.add_argument("--window", type=positive, default=512, metavar="N", help="tokens of a window (default 512)")
    parser.add_argument("--stride", type=positive, metavar="N", help="tokens from window to window (default: a window)")
    parser.add_argument("--limit", type=positive, metavar="N", help="read N windows at most")
    parser.add_argument(
        "--contexts",
        type=_lengths,
        default=(),
        metavar="N,...",
        help="lengths at which time and energy are given (default: a quarter, a half and all of a window)",
    )
    parser.add_argument("--reference", action="store_true", help="give ONNX Runtime's perplexity, too")
    attention = "compare attention to selected keys with attention to all of them, over the first window, in numpy"
    parser.add_argument("--attention-error", action="store_true", help=attention)
    parser.add_argument("--resume", metavar="F", help="note every window in F, and go on from what is there")
    parser.add_argument("--csv", metavar="F.csv", help="write a line for each policy and context")
    parser.add_argument("--plot", metavar="F", help="draw perplexity against memory and energy: .svg, .html or .png")


def _run(options: Namespace) -> int:
    from pimc.files import write_text
    from pimc.report.evaluation import evaluation_csv, print_evaluation
    from pimc.report.pareto import write_plot
    from pimc.report.terminal import Terminal, print_json

    _check_outputs(options)
    terminal = Terminal(options.color, options.quiet)
    try:
        evaluation = _evaluate(options, terminal)
    except KeyboardInterrupt:
        if options.resume is not None and Path(options.resume).exists():
            terminal.note(f"what is done stands in {options.resume}: the same command goes on from there")
        raise
    if options.csv is not None:
        write_text(options.csv, evaluation_csv(evaluation))
    if options.plot is not None:
        write_plot(options.plot, evaluation)
    if options.json:
        print_json(evaluation.to_json())
    else:
        print_evaluation(terminal, evaluation)
    return 0


def _check_outputs(options: Namespace) -> None:
    """Refuse before the work what could not be written behind it."""
    from pimc.files import check_output
    from pimc.report.pictures import check_picture

    if options.csv is not None:
        check_output(options.csv)
    if options.plot is not None:
        check_picture(options.plot)


def _evaluate(options: Namespace, terminal: Terminal) -> Evaluation:
    from isa import load_machine
    from pimc.evaluation.results import Evaluation, all_contexts
    from pimc.evaluation.runner import check_vocabulary, load_policies, plan_policies
    from pimc.report.policies import say_idle
    from pimc.report.units import say_unmet

    policies = load_policies(options.kv)
    windows, machine = _windows(options), load_machine(options.machine)
    contexts = all_contexts(options.contexts, options.window)
    compiled = _Compiler(options, machine, _max_context(options, contexts))
    with terminal.status(f"compiling {options.model}"):
        plans = plan_policies(policies, compiled)
    say_unmet(terminal, plans[0].program)
    for plan in plans[1:]:
        say_idle(terminal, plan.program, options.window, plan.label)
    check_vocabulary(plans[0].program, windows)
    reference, results = _results(options, terminal, machine, windows, contexts, plans, compiled)
    attention = _attention(options, terminal, plans, windows) if options.attention_error else {}
    return Evaluation(_facts(options, machine, windows), contexts, tuple(results), reference, attention)


def _attention(
    options: Namespace, terminal: Terminal, plans: list[Plan], windows: Windows
) -> dict[str, AttentionError]:
    """What the policies that select keys lose."""
    from pimc.compiler import fuse_model
    from pimc.evaluation.attention_error import attention_error
    from pimc.frontend import load_model

    found: dict[str, AttentionError] = {}
    dims, bind = bound_dimensions(options), bound_values(options)
    for plan in plans[1:]:
        with terminal.status(f"{plan.label}: attention to all keys"):
            model = load_model(options.model)
            graph = fuse_model(model, dims, options.pipeline, options.optimize, bind=bind, kv=plan.kv)
            error = attention_error(graph, plan.program, windows.window(0))
        if error.layers:
            found[plan.policy] = error
    return found


def _results(
    options: Namespace,
    terminal: Terminal,
    machine: Machine,
    windows: Windows,
    contexts: tuple[int, ...],
    plans: list[Plan],
    compiled: _Compiler,
) -> tuple[float | None, list[Any]]:
    """The reference's perplexity, when it is wanted, and the results of all policies."""
    from pimc.evaluation.reference import reference_perplexity
    from pimc.evaluation.resume import ResumeFile
    from pimc.evaluation.runner import evaluate_policy
    from pimc.reference import Reference

    done = ResumeFile(options.resume, _identity(plans[0].program, windows, contexts))
    total = windows.count * windows.size
    expected = None
    with terminal.progress("starting", total * (len(plans) + options.reference)) as progress:
        if options.reference:
            model = Reference(options.model, bound_values(options))
            program = plans[0].program
            expected = reference_perplexity(program, model, windows, lambda tokens: progress(tokens, "ONNX Runtime"))
            del model
        results = [evaluate_policy(plan, machine, windows, contexts, compiled, done, progress) for plan in plans]
    return expected, results


class _Compiler:
    """Compiles the model as the options say, for any policies."""

    def __init__(self, options: Namespace, machine: Machine, max_context: int) -> None:
        self._options = options
        self._machine = machine
        self._max_context = max_context

    def __call__(self, kv: KvSpecification | None, weights: bool) -> Program:
        from pimc.compiler import compile_model

        options, dims, bind = self._options, bound_dimensions(self._options), bound_values(self._options)
        chosen = (self._max_context, options.numerics, options.pipeline, options.optimize)
        units = chosen_units(options)
        return compile_model(
            options.model, self._machine, dims, *chosen, weights=weights, bind=bind, kv=kv, units=units
        )


def _windows(options: Namespace) -> Windows:
    from pimc.evaluation.windows import cut_windows
    from pimc.file_kinds import FileKind, check_kind
    from pimc.files import read_text
    from pimc.text_model import load_text_model

    check_kind(options.model, FileKind.MODEL)
    text = read_text(options.text)
    tokens = load_text_model(options.model, {}).tokenizer.encode(text, add_special_tokens=False).ids
    return cut_windows(tokens, options.window, options.stride or options.window, options.limit, options.text)


def _max_context(options: Namespace, contexts: tuple[int, ...]) -> int:
    """Tokens to reserve the cache for; raises `InputError` when `--max-context` is too small."""
    from isa import InputError

    needed: int = max(options.window, *contexts)
    if options.max_context is None:
        return needed
    if options.max_context < needed:
        what = "window" if options.window == needed else "context"
        raise InputError(
            f"a {what} of {needed} tokens does not fit --max-context {options.max_context}",
            help=f"give --max-context {needed}, or a smaller {what}",
        )
    context: int = options.max_context
    return context


def _identity(program: Program, windows: Windows, contexts: tuple[int, ...]) -> dict[str, Any]:
    """What the results of windows hold for."""
    return {
        "model": program.metadata.get("model_sha256"),
        "machine": program.machine_sha256,
        "text": windows.sha256,
        "numerics": program.numerics,
        "window": windows.size,
        "stride": windows.stride,
        "contexts": ",".join(map(str, contexts)),
        "max-context": program.metadata.get("max_context"),
    }


def _facts(options: Namespace, machine: Machine, windows: Windows) -> dict[str, Any]:
    return {
        "model": options.model,
        "machine": machine.name,
        "numerics": options.numerics,
        "text": {
            "file": options.text,
            "tokens": len(windows.tokens),
            "window": windows.size,
            "stride": windows.stride,
            "windows": windows.count,
            "scored_tokens": sum(windows.scored(number) for number in range(windows.count)),
            "left_over_tokens": windows.left_over,
        },
    }


COMMAND = Command(
    name="eval",
    summary="perplexity, memory, time and energy of KV-cache policies",
    description="Reads a text in windows, token by token, once for each policy, and gives of one and the same run\n"
    "perplexity, bytes of the KV cache, tokens/s and J/token of the machine. Reads the tokenizer.json beside the\n"
    "model. Each window begins with an empty cache; all its tokens are scored but the first and those that an earlier\n"
    "window has scored. Contexts beyond a window are measured without data and marked.",
    examples=(
        "pimc eval models/tiny-shakespeare.onnx --text models/shakespeare-held-out.txt --kv kivi:bits=4 --window 128",
        "pimc eval model.onnx --text t.txt --kv window:budget=64 --kv @my.kv --contexts 128,512,2048 --plot p.svg",
        "pimc eval model.onnx --text t.txt --kv h2o:budget=128 --resume run.json --limit 4",
    ),
    add_arguments=_add_arguments,
    run=_run,
)
