"""`pimc trace`: run a trace of another simulator."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from pimc.commands.command import Command

if TYPE_CHECKING:
    from isa import Machine


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("trace", metavar="FILE", help="the trace, plain or packed by gzip")
    parser.add_argument("--format", choices=("aim-isr",), default="aim-isr", help="whose trace it is (default aim-isr)")
    parser.add_argument("-m", "--machine", default="gddr6-aim", metavar="NAME|FILE", help="machine (default gddr6-aim)")
    parser.add_argument(
        "--compat", action="store_true", help="as the published simulator: its controller and rules, no refresh"
    )
    parser.add_argument(
        "--accounting", choices=("paper", "faithful"), help="energy that is charged (default faithful; --compat: paper)"
    )
    parser.add_argument("--log", metavar="COMMANDS.csv", help="write every issued command")
    parser.add_argument(
        "--trace",
        dest="timeline",
        metavar="T.perfetto",
        help="write what every channel and bank does, for ui.perfetto.dev",
    )


def _run(options: Namespace) -> int:
    from isa import load_machine
    from pimc.file_kinds import check_trace
    from pimc.files import check_output, write_atomically
    from pimc.report.terminal import Terminal, print_json
    from pimc.report.trace import print_trace
    from pimc.simulator import simulate_trace

    for path in (options.log, options.timeline):
        if path is not None:
            check_output(path)
    check_trace(options.trace)
    terminal = Terminal(options.color, options.quiet)
    machine = load_machine(options.machine)
    with terminal.status(f"running {options.trace}"):
        if options.log is None:
            found = simulate_trace(options.trace, machine, options.compat, options.accounting)
        else:
            with write_atomically(options.log) as log:
                found = simulate_trace(options.trace, machine, options.compat, options.accounting, log)
        if options.timeline is not None:
            _write_timeline(options, machine)
    if options.json:
        print_json(found.to_json())
    else:
        print_trace(terminal, found)
    terminal.note(f"parsed in {found.parse_s:.3f} s, simulated in {found.engine_s:.3f} s (CPU time)")
    return 0


def _write_timeline(options: Namespace, machine: Machine) -> None:
    from pimc.files import write_atomically
    from pimc.report.perfetto import write_perfetto
    from pimc.simulator import trace_timeline

    timeline, curves = trace_timeline(options.trace, machine, options.compat, options.accounting)
    with write_atomically(options.timeline) as file:
        write_perfetto(file, timeline, curves, machine)


COMMAND = Command(
    name="trace",
    summary="run a trace of another simulator",
    description="Runs a trace of the published AiM simulator (aim-isr) and prints cycles, commands and energy.\n"
    "Without --compat rows are refreshed, every rule of the machine holds, and a trace ends when all its work has.",
    examples=(
        "pimc trace gemv.trace --format aim-isr --compat --json",
        "pimc trace block.trace.gz --log commands.csv --trace block.perfetto",
    ),
    add_arguments=_add_arguments,
    run=_run,
)
