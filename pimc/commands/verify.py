"""`pimc verify`: compile, run, compare with ONNX Runtime."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pimc.commands.blame import blaming
from pimc.commands.command import Command
from pimc.commands.model_options import add_model_options, add_policies, bound_values, chosen_policies, compile_with


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
        " (default 1e-4; with --numerics machine the cosine must be at least 0.999)",
    )


def _run(options: Namespace) -> int:
    from isa import MismatchError, load_machine
    from pimc.arrays import read_arrays
    from pimc.folder_verification import verify_folder
    from pimc.model_folder import is_folder, load_folder
    from pimc.observing import Record
    from pimc.policy_verification import verify_policies
    from pimc.reference import Reference, import_runtime
    from pimc.report.terminal import Terminal, print_json
    from pimc.report.verification import print_verification
    from pimc.simulator import Session
    from pimc.verification import default_tolerance, verify_program

    policies = chosen_policies(options)
    if policies is None:
        import_runtime()
    inputs = read_arrays(options.inputs) if options.inputs is not None else None
    machine = load_machine(options.machine)
    rtol = default_tolerance(options.numerics) if options.rtol is None else options.rtol
    terminal = Terminal(options.color, options.quiet)
    with terminal.status(f"compiling {options.model}") as show, blaming(options.inputs):
        record = Record(show)
        program = compile_with(options, machine, [record], options.inputs)
        session, chosen = Session(program, machine), (inputs, rtol, options.seed, show)
        if policies is not None:
            found = verify_policies(program, session, record.graphs, *chosen)
        elif is_folder(options.model):
            found = verify_folder(program, session, load_folder(options.model), *chosen)
        else:
            found = verify_program(program, session, Reference(options.model, bound_values(options)), *chosen)
    if options.json:
        print_json(found.to_json())
    else:
        print_verification(terminal, found, program.numerics)
    return 0 if found.ok else MismatchError.exit_code


COMMAND = Command(
    name="verify",
    summary="compile, run and compare with ONNX Runtime",
    description="Compiles a model, runs it on the simulator and on ONNX Runtime with the same inputs, and compares\n"
    "every output. Without -i the inputs are seeded: several lengths, empty and filled cache, prompts whole and in\n"
    "pieces, padding. With --kv the outputs are compared with the meaning of the policies in numpy instead, over\n"
    "a sequence that is long enough for them to act. Ends with exit code 3 when an output differs by more than the\n"
    "tolerance.",
    examples=(
        "pimc verify models/tiny-shakespeare.onnx",
        "pimc verify model.onnx -i in.npz --json",
        "pimc verify models/tiny-shakespeare.onnx --kv h2o:budget=64",
    ),
    add_arguments=_add_arguments,
    run=_run,
)
