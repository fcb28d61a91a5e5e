"""The command log of a recorded run, as comma-separated text."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from isa import Machine, MachineError, Program, ResourceLimitError
from pimc.simulator.engine.decoding import CHANNEL
from pimc.simulator.recording.command_csv import write_csv
from pimc.simulator.recording.command_log import MOST_COMMANDS, CommandEvents, expand, issued_commands
from pimc.simulator.recording.near_bank_log import near_bank_log_format, program_work
from pimc.simulator.recording.recorder import Recording


def recorded_commands(recording: Recording, program: Program, machine: Machine) -> CommandEvents:
    """Every DRAM command of a recorded run; nodes are those of the graph.

    Args:
        recording: The run.
        program: The program that ran.
        machine: A machine with near-bank units.

    Raises:
        MachineError: the machine has no near-bank units.
        ResourceLimitError: there are too many commands.
    """
    near_bank = machine.near_bank
    if near_bank is None:
        raise MachineError(f"the machine '{machine.name}' has no near-bank units (extension B)")
    demand = issued_commands(recording.runs)
    if demand > MOST_COMMANDS:
        raise ResourceLimitError(
            "the command log is too long",
            notes=[f"demand: {demand:,} commands", f"bound: {MOST_COMMANDS:,}"],
            help="log a shorter run",
        )
    given = np.flatnonzero(recording.unit == CHANNEL)
    index = recording.index[given]
    mnemonics = [program.code[each].mnemonic for each in index.tolist()]
    operands = [recording.operands[each] for each in given.tolist()]
    node = np.array(program.debug, dtype=np.int64)[index] if program.debug else np.full(index.size, -1)
    nodes = [source.node for source in program.sources]
    work = program_work(near_bank, mnemonics, operands, node, nodes)
    return expand(recording.runs, work, near_bank_log_format(near_bank))


def write_recorded_log(file: BinaryIO, recording: Recording, program: Program, machine: Machine) -> None:
    """Write every DRAM command of a recorded run; see `recorded_commands`."""
    events = recorded_commands(recording, program, machine)
    if machine.near_bank is not None:
        write_csv(file, events, machine.near_bank.banks_per_group)
