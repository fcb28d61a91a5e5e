"""`pimc verify`: compile, run, compare with ONNX Runtime."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from pimc.commands.blame import blaming
from pimc.commands.command import Command
from pimc.commands.model_options import add_model_options, add_policies, bound_values, compile_with

if TYPE_CHECKING:
    from pimc.report.terminal import Terminal
    from pimc.verification import Verification


def _add_arguments(parser: ArgumentParser) -> None:
    add_model_options(parser, numerics="fp32")
    add_policies(parser)
    parser.add_argument(
        "-i",
        "--inputs",
        metavar="IN.npz",
        help="arrays by ONNX input name, of a folder by ENTRY/NAME (default: seeded)",
    )
    parser.add_argument(
        "--rtol",
        type=float,
        help="largest error allowed, relative to the output's largest magnitude"
        " (default 1e-4, of policies that encode or select 5e-3; with --numerics machine the cosine must be at least"
        " 0.999, of policies that select keys 0.95)",
    )


def _run(options: Namespace) -> int:
    from isa import MismatchError
    from pimc.reference import import_runtime
    from pimc.report.terminal import Terminal, print_json
    from pimc.report.verification import print_verification

    if options.kv is None:
        import_runtime()
    terminal = Terminal(options.color, options.quiet)
    with terminal.status(f"compiling {options.model}") as show, blaming(options.inputs):
        found = _verified(options, terminal, show)
    if options.json:
        print_json(found.to_json())
    else:
        print_verification(terminal, found, options.numerics)
    return 0 if found.ok else MismatchError.exit_code


def _verified(options: Namespace, terminal: Terminal, show: Callable[[str], None]) -> Verification:
    """The comparison that the options ask for; `show` gets a line about the progress."""
    from isa import load_machine
    from pimc.arrays import read_arrays
    from pimc.folder_policies import verify_folder_policies
    from pimc.folder_verification import verify_folder
    from pimc.model_folder import is_folder, load_folder
    from pimc.observing import Record
    from pimc.policy_verification import verify_policies
    from pimc.reference import Reference
    from pimc.report.units import say_unmet
    from pimc.simulator import Session
    from pimc.verification import default_tolerance, verify_program

    inputs = read_arrays(options.inputs) if options.inputs is not None else None
    machine, record = load_machine(options.machine), Record(show)
    program = compile_with(options, machine, [record], options.inputs)
    say_unmet(terminal, program)
    session = Session(program, machine)
    if any(cache.is_compressed for graph in record.graphs for cache in graph.caches.values()):
        given = (inputs, options.rtol, options.seed, show)
        if is_folder(options.model):
            return verify_folder_policies(program, session, load_folder(options.model), record.graphs, *given)
        return verify_policies(program, session, record.graphs[0], *given)
    rtol = default_tolerance(options.numerics) if options.rtol is None else options.rtol
    chosen = (inputs, rtol, options.seed, show)
    if is_folder(options.model):
        return verify_folder(program, session, load_folder(options.model), *chosen)
    return verify_program(program, session, Reference(options.model, bound_values(options)), *chosen)


COMMAND = Command(
    name="verify",
    summary="compile, run and compare with ONNX Runtime",
    description="Compiles a model, runs it on the simulator and on ONNX Runtime with the same inputs, and compares\n"
    "every output. Without -i the inputs are seeded: several lengths, empty and filled cache, prompts whole and in\n"
    "pieces, padding. With policies in --kv, and on machines whose attention is a search, the outputs are compared\n"
    "with the meaning of the policies in numpy instead, over a sequence that is long enough for them to act. Ends\n"
    "with exit code 3 when an output differs by more than the tolerance.",
    examples=(
        "pimc verify models/tiny-shakespeare.onnx",
        "pimc verify model.onnx -i in.npz --json",
        "pimc verify models/tiny-shakespeare.onnx --kv h2o:budget=64",
    ),
    add_arguments=_add_arguments,
    run=_run,
)
