"""`pimc compile`: model to program."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pimc.commands.command import Command
from pimc.commands.model_options import add_model_options, add_policies, compile_with, note_idle_wishes

if TYPE_CHECKING:
    from isa import Program
    from passes import Graph, PassReport
    from pimc.compiler import Observer

_ALL = "all"
"""In the place of a pass: every one that runs."""


def _add_arguments(parser: ArgumentParser) -> None:
    add_model_options(parser, numerics="machine")
    add_policies(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="file to write (default: MODEL.pim here; text: stdout)")
    parser.add_argument("-i", "--inputs", metavar="IN.npz", help="bind dimensions from the shapes of these inputs")
    parser.add_argument(
        "--emit", choices=("graph", "asm", "bin"), default="bin", help="what to write: graph text, assembly, program"
    )
    group = parser.add_argument_group("looking inside")
    group.add_argument("--explain", metavar="PASS", help="say what PASS (or 'all') did, what it left, and why")
    group.add_argument("--print-after", metavar="PASS", help="print the graph after PASS (or 'all') on stderr")
    group.add_argument("--dump-dir", metavar="DIR", help="write the graph after every pass that changes it to DIR")
    group.add_argument("--time-passes", action="store_true", help="print the time of every pass on stderr")


def _run(options: Namespace) -> int:
    from isa import load_machine
    from pimc.files import check_output
    from pimc.observing import Record
    from pimc.report.compilation import compilation_facts, print_compilation, print_pass_times
    from pimc.report.fusion import print_explanation
    from pimc.report.terminal import Terminal, print_json

    output = _output(options)
    if output is not None:
        check_output(output)
    _check_explain(options, output)
    terminal = Terminal(options.color, options.quiet)
    machine = load_machine(options.machine)
    with terminal.status(f"compiling {options.model}") as show:
        record = Record(show)
        program = compile_with(options, machine, [record, *_observers(options)], options.inputs)
    _check_explained(options.explain, record.reports)
    if options.time_passes:
        print_pass_times(terminal, record.reports)
    _write(options, program, record.graphs, output)
    note_idle_wishes(terminal, program)
    if options.json:
        print_json({"output": output and str(output), **compilation_facts(program, record.graphs)})
    elif output is not None:
        print_compilation(terminal, program, machine, record.graphs)
        for name in _explained(options.explain, record.reports):
            print_explanation(terminal, name, record.reports, record.graphs)
        terminal.line(f"wrote {output}")
    return 0


def _check_explain(options: Namespace, output: Path | None) -> None:
    """Refuse an explanation of a pass that there is not, or in the midst of a text."""
    from isa import InputError
    from pimc.observing import MACHINE_PASSES, check_pass_name

    if options.explain is None:
        return
    check_pass_name(options.explain, (_ALL, *MACHINE_PASSES))
    if output is None:
        raise InputError(
            "standard output takes the text or the explanation, not both", help="give -o FILE for the text"
        )


def _explained(name: str | None, reports: Sequence[PassReport]) -> list[str]:
    """Names of the passes to explain, in the order in which they ran first."""
    return [ran for ran in dict.fromkeys(report.name for report in reports) if name in (ran, _ALL)]


def _check_explained(name: str | None, reports: Sequence[PassReport]) -> None:
    """Refuse an explanation of a pass that did not run."""
    from isa import InputError

    if name is not None and not _explained(name, reports):
        ran = ", ".join(_explained(_ALL, reports))
        raise InputError(
            f"pass '{name}' did not run",
            notes=[f"the passes of this compilation: {ran}"],
            help=f"add {name} to --pipeline, or choose a machine that it is for",
        )


def _output(options: Namespace) -> Path | None:
    """The file to write; text goes to standard output when none is named."""
    if options.output is not None:
        return Path(options.output)
    model = Path(options.model)
    name = model.resolve().name if model.is_dir() else model.stem
    return Path(f"{name}.pim") if options.emit == "bin" else None


def _observers(options: Namespace) -> list[Observer]:
    from pimc.observing import MACHINE_PASSES, DumpFolder, PrintAfter, check_pass_name

    chosen: list[Observer] = []
    if options.print_after is not None:
        check_pass_name(options.print_after, ("all", *MACHINE_PASSES))
        chosen.append(PrintAfter(options.print_after))
    if options.dump_dir is not None:
        chosen.append(DumpFolder(Path(options.dump_dir)))
    return chosen


def _write(options: Namespace, program: Program, graphs: Sequence[Graph], output: Path | None) -> None:
    """Write what was asked for to `output`, or text to standard output when that is `None`."""
    from isa import disassemble, save_assembly, save_program
    from passes import print_graph
    from pimc.files import write_text

    if output is None:
        text = disassemble(program) if options.emit == "asm" else "".join(map(print_graph, graphs))
        sys.stdout.write("" if options.json else text)
    elif options.emit == "bin":
        save_program(program, output)
    elif options.emit == "asm":
        save_assembly(program, output)
    else:
        write_text(output, "".join(map(print_graph, graphs)))


COMMAND = Command(
    name="compile",
    summary="compile a model to a program",
    description="Compiles an ONNX model to a program for a machine. A folder with the files of an encoder, a decoder\n"
    "and a decoder with past (or a merged one) becomes one program with the entries encode, prefill and decode.",
    examples=(
        "pimc compile models/tiny-shakespeare.onnx -o t.pim",
        "pimc compile model.onnx --dim batch=1 --max-context 1024 --emit asm | less",
        "pimc compile t5-small/ -o t5.pim",
        "pimc compile model.onnx --explain fuse_attention",
        "pimc compile model.onnx --print-after fuse_attention --time-passes",
    ),
    add_arguments=_add_arguments,
    run=_run,
)
