"""`pimc run`: execute a program on the simulator."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from pimc.commands.blame import blaming
from pimc.commands.command import Command
from pimc.commands.registers import add_set, check_entry, entry_name, entry_registers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isa import Program
    from pimc.report.terminal import Terminal
    from pimc.simulator import Recording, Session, Statistics

    Outputs = dict[str, NDArray[Any]]

_SEEDED_TOKENS = 16


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("program", metavar="P.pim", help="the program")
    parser.add_argument(
        "-i",
        "--inputs",
        metavar="IN.npz",
        help="arrays by ONNX input name, of several models by ENTRY/NAME (default: seeded)",
    )
    parser.add_argument("-o", "--outputs", metavar="OUT.npz", help="write the outputs by ONNX output name")
    parser.add_argument("-m", "--machine", metavar="FILE", help="description of a machine that is not bundled")
    parser.add_argument(
        "--entry",
        metavar="NAME",
        help="decode, prefill or encode (default: by the inputs; all of several models)",
    )
    parser.add_argument("--timing-only", action="store_true", help="time and energy without data")
    add_set(parser, "value of a host register; the entry then runs without inputs")
    parser.add_argument(
        "--accounting",
        choices=("faithful", "paper"),
        default="faithful",
        help="energy that is charged: all, or what published calculations count (default faithful)",
    )
    parser.add_argument("--stats", metavar="S.json", help="write the statistics")
    parser.add_argument("--trace", metavar="T.perfetto", help="write what every unit does, for ui.perfetto.dev")
    parser.add_argument("--log", metavar="COMMANDS.csv", help="write every issued DRAM command")


def _run(options: Namespace) -> int:
    from isa import InputError, load_machine, load_program, program_machine
    from pimc.file_kinds import FileKind, check_kind
    from pimc.files import check_output
    from pimc.report.run import loading_facts, print_loading, print_run
    from pimc.report.terminal import Terminal, print_json
    from pimc.simulator import Session

    if options.timing_only and options.outputs is not None:
        raise InputError("--timing-only computes no outputs", help="leave -o or --timing-only out")
    for path in (options.outputs, options.stats, options.trace, options.log):
        if path is not None:
            check_output(path)
    terminal = Terminal(options.color, options.quiet)
    check_kind(options.program, FileKind.PROGRAM)
    program = load_program(options.program)
    machine = load_machine(options.machine) if options.machine else program_machine(program)
    session = Session(program, machine, options.timing_only, options.accounting)
    outputs, statistics, recording = _execute(options, session, terminal)
    stats = statistics.to_json()
    stats["provenance"]["seed"] = options.seed
    stats |= loading_facts(session)
    _write(options, outputs, stats)
    if recording is not None:
        _write_recording(options, recording, session)
    if options.json:
        print_json(stats)
    else:
        print_run(terminal, stats)
        print_loading(terminal, session)
    return 0


def _execute(options: Namespace, session: Session, terminal: Terminal) -> tuple[Outputs, Statistics, Recording | None]:
    """Run what is asked for, recorded when a trace or a log is."""
    check_entry(session.program, options.entry)
    by_registers = options.set or not any(port.direction == "input" for port in session.program.ports)
    records = options.trace is not None or options.log is not None
    if records:
        session.simulator.record()
    with terminal.status(f"running {options.program}"), blaming(options.inputs):
        runs = _run_registers(options, session) if by_registers else _run_inputs(options, session, terminal)
    return (*runs, session.simulator.recording() if records else None)


def _run_registers(options: Namespace, session: Session) -> tuple[Outputs, Statistics]:
    """Run an entry for given values of its registers, the others at their lowest, on what the memories hold."""
    entry = entry_name(session.program, options.entry)
    registers = entry_registers(session.program, entry, options.set)
    return {}, session.simulator.run(entry, registers, options.timing_only)


def _run_inputs(options: Namespace, session: Session, terminal: Terminal) -> tuple[Outputs, Statistics]:
    """Run the model on the given inputs, or on seeded ones."""
    from pimc.arrays import read_arrays

    if session.program.stages:
        return _run_stages(options, session, terminal)
    if options.inputs is not None:
        inputs = read_arrays(options.inputs)
    else:
        inputs = _seeded_inputs(options, session.program, terminal)
    outputs = session.run(inputs, None, options.entry)
    return outputs, session.statistics


def _run_stages(options: Namespace, session: Session, terminal: Terminal) -> tuple[Outputs, Statistics]:
    """Run the entries of a program of several models one after another, up to the one that is asked for.

    Without `--entry`, outputs are called `ENTRY/NAME`, and the statistics are those of all runs.
    """
    import numpy as np

    from pimc.arrays import read_arrays
    from pimc.folder_runs import Case, given_runs, seeded_runs

    if options.inputs is None:
        case = Case(min(_SEEDED_TOKENS, int(session.program.metadata["max_context"]) - 1), 1, 1)
        terminal.note(f"no inputs given: {case}, seeded ({options.seed})")
        runs = list(seeded_runs(session.program, case, np.random.default_rng(options.seed)))
    else:
        arrays = read_arrays(options.inputs)
        is_plain = options.entry is not None and not any("/" in name for name in arrays)
        runs = [(options.entry, arrays)] if is_plain else given_runs(session.program, arrays)
    outputs: Outputs = {}
    for entry, inputs in runs:
        found = session.run(inputs, entry=entry)
        if entry == options.entry:
            return found, session.statistics
        outputs |= {f"{entry}/{name}": array for name, array in found.items()}
    if options.entry is not None:
        session.run({}, entry=options.entry)
    return outputs, session.total


def _seeded_inputs(options: Namespace, program: Program, terminal: Terminal) -> Outputs:
    import numpy as np

    from pimc.model_inputs import Step, has_cache, step_inputs

    longest = int(program.metadata.get("max_context", _SEEDED_TOKENS))
    tokens = 1 if options.entry == "decode" else min(_SEEDED_TOKENS, longest)
    made = f"{tokens} seeded token{'s' if tokens > 1 else ''} (seed {options.seed})"
    terminal.note(f"no inputs given: {made}{', an empty cache' if has_cache(program.ports) else ''}")
    generator = np.random.default_rng(options.seed)
    return step_inputs(program.ports, Step(tokens), generator, program.metadata.get("table_rows", {}))


def _write(options: Namespace, outputs: Outputs, stats: dict[str, Any]) -> None:
    from pimc.arrays import write_arrays
    from pimc.files import write_text

    if options.outputs is not None:
        write_arrays(options.outputs, outputs)
    if options.stats is not None:
        write_text(options.stats, json.dumps(stats, indent=2, allow_nan=False) + "\n")


def _write_recording(options: Namespace, recording: Recording, session: Session) -> None:
    from pimc.files import write_atomically
    from pimc.report.perfetto import write_perfetto
    from pimc.simulator import curves, timeline, write_recorded_log

    program, machine = session.program, session.simulator.machine
    if options.log is not None:
        with write_atomically(options.log) as log:
            write_recorded_log(log, recording, program, machine)
    if options.trace is not None:
        power = curves(recording, program, machine, options.accounting)
        with write_atomically(options.trace) as trace:
            write_perfetto(trace, timeline(recording, program, machine), power, machine)


COMMAND = Command(
    name="run",
    summary="run a program: outputs, cycles, joules",
    description="Runs a program on the simulator and prints time, energy and utilisation of the machine.",
    examples=(
        "pimc run t.pim",
        "pimc run t.pim -i in.npz -o out.npz --stats s.json",
        "pimc run t.pim --entry decode --timing-only --set kv_length=128",
        "pimc run t.pim --entry decode --set kv_length=128 --trace t.perfetto --log commands.csv",
    ),
    add_arguments=_add_arguments,
    run=_run,
)
