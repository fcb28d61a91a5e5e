"""The golden rows of the published AiM simulator, and its traces as instructions of extension B."""

import csv
from pathlib import Path

from isa import Machine
from pimc.simulator.dram.channel_timing import ChannelTiming

FOLDER = Path(__file__).parents[2] / "golden" / "aim"
with (FOLDER / "aim_golden.csv").open(newline="") as table:
    ROWS = {row["name"]: row for row in csv.DictReader(table)}


def trace_text(name: str) -> str:
    return (FOLDER / f"{name}.trace").read_text()


def opcodes(name: str) -> list[str]:
    return [line.split()[1] for line in trace_text(name).splitlines()]


NEAR_BANK_TRACES = [
    name
    for name in ROWS
    if set(opcodes(name)) <= {"WR_GB", "WR_BIAS", "MAC_ABK", "RD_MAC", "EOC"} and len(opcodes(name)) > 1
]


def run_in_order(name: str, machine: Machine) -> ChannelTiming:
    """Issue the trace's instructions to our channels at once, without the reference's front end."""
    timing = ChannelTiming(machine, refresh=False)
    for line in trace_text(name).splitlines():
        opcode, *fields = line.split()[1:]
        numbers = [int(field, 0) for field in fields]
        if opcode == "WR_GB":
            columns, _, mask = numbers
            timing.issue("wrgb", [mask, 0, 0, columns, 1, 0, 0, 16], 0)
        elif opcode == "WR_BIAS":
            timing.issue("wracc", [numbers[1], 0, 1, 0, 0, 1, 0, 0, 16], 0)
        elif opcode == "MAC_ABK":
            columns, mask, row = numbers
            timing.issue("mac", [mask, row * 64, 0, columns, 1, 0, 0, 0, 1], 0)
        elif opcode == "RD_MAC":
            timing.issue("rdacc", [numbers[1], 0, 1, 0, 1, 0, 0, 16, 0], 0)
    return timing
