"""AttAcc: every command of the published simulator's logs to the cycle, its cycles and requests for every size."""

import csv
from pathlib import Path

import pytest

from isa import Machine, load_machine
from pimc.simulator.traces.attacc.frontend import AttaccRun, run_attacc_trace
from pimc.simulator.traces.attacc.streams import AttentionShape, attention_trace

FOLDER = Path(__file__).parents[3] / "golden" / "attacc"
MACHINES = {"bank": load_machine("hbm3-attacc"), "bg": load_machine("hbm3-attacc-bankgroup")}
REQUESTS = {
    "mac_ab": "MACAB",
    "mac_sb": "MACSB",
    "mac_pb": "MACPB",
    "mvgb": "MVGB",
    "mvsb": "MVSB",
    "wrgb": "WRGB",
    "sfm": "SFM",
}
with (FOLDER / "attacc_golden.csv").open(newline="") as table:
    ROWS = list(csv.DictReader(table))


def attention(row: dict[str, str]) -> tuple[str, Machine]:
    machine = MACHINES[row["gran"]]
    shape = AttentionShape(int(row["seqlen"]), int(row["nhead"]), int(row["dhead"]), int(row["dbyte"]))
    return attention_trace(machine, shape), machine


def reference_log(name: str) -> list[tuple[int, str, list[int]]]:
    """Cycle, command, and address from pseudo channel to column; -1 where a refresh addresses nothing."""
    with (FOLDER / f"cmdlog_{name}_ch0.csv").open(newline="") as table:
        rows = [[field.strip() for field in row] for row in csv.reader(table)]
    return [(int(cycle), command, [int(field) for field in address[1:]]) for cycle, command, *address in rows]


def own_log(run: AttaccRun, machine: Machine, channel: int = 0) -> list[tuple[int, str, list[int]]]:
    device = machine.dram
    assert device is not None
    log = []
    for command in run.channel_log(channel):
        places = [command.bank // device.span(level) % count for level, count in device.levels.items()]
        if command.row < 0:
            places[1:] = [-1] * 3
        log.append((command.cycle, command.name, [*places, command.row, command.column]))
    return log


@pytest.mark.parametrize("name", ["bank_L2048", "bank_L4096", "bg_L2048"])
def test_every_command_of_the_log_is_met_to_the_cycle(name: str) -> None:
    granularity, length = name.split("_L")
    machine = MACHINES[granularity]
    run = run_attacc_trace(attention_trace(machine, AttentionShape(int(length))), machine)
    assert own_log(run, machine) == reference_log(name)


@pytest.mark.parametrize("name", ["bank_L2048", "bg_L2048"])
def test_stream_is_the_published_trace(name: str) -> None:
    granularity, length = name.split("_L")
    assert (
        attention_trace(MACHINES[granularity], AttentionShape(int(length)))
        == (FOLDER / f"attacc_{name}.trace").read_text()
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(list(row.values())[:6]))
def test_cycles_and_requests_are_met(row: dict[str, str]) -> None:
    text, machine = attention(row)
    run = run_attacc_trace(text, machine, power_limit=row["power_limit"] == "1")
    assert run.cycles == int(row["cycles"])
    assert {name: run.command_counts[command] for name, command in REQUESTS.items()} == {
        name: int(row[name]) for name in REQUESTS
    }


def test_channels_with_the_same_work_do_the_same() -> None:
    machine = MACHINES["bg"]
    run = run_attacc_trace(attention_trace(machine, AttentionShape(1024, heads=16)), machine)
    first = own_log(run, machine)
    assert first
    assert all(own_log(run, machine, channel) == first for channel in range(1, 16))
