"""Traces run faithfully or as published, with and without shortcuts; the published decoder blocks; logs."""

import csv
import gzip
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from aim_golden import ROWS, trace_text
from hypothesis import given
from random_traces import LINES, traces

from isa import InputError, load_machine
from pimc.simulator import simulate_trace
from pimc.simulator.dram.tables import COMMAND_INDEX, COMMANDS
from pimc.simulator.recording.command_csv import HEADER, write_csv
from pimc.simulator.recording.command_log import NONE, CommandEvents, expand, logged_runs
from pimc.simulator.recording.near_bank_log import near_bank_log_format
from pimc.simulator.traces.aim.frontend import AimRun, parse_aim_trace, run_aim_trace
from pimc.simulator.traces.aim.text import LineParser
from pimc.simulator.traces.aim.work import trace_work

MACHINE = load_machine("gddr6-aim")
REFERENCE = MACHINE.model_copy(update={"controller": "aim_reference"})
CENT = Path(__file__).parents[3] / "golden" / "cent"
LOG_RUNS = 1 << 16
with (CENT / "llama2_7b_block_golden.csv").open(newline="") as table:
    BLOCKS = {row["seqlen"]: row for row in csv.DictReader(table)}
PUBLISHED_PARTS = {
    "dram_activation": "ACT/PRE",
    "dram_read": "RD",
    "dram_write": "WR",
    "dram_compute": "PIM",
    "dram_interface": "DQ",
}


def outcome(run: AimRun) -> tuple[int, int, dict[str, int]]:
    return run.cycles, run.row_open_cycles, dict(run.command_counts)


@pytest.mark.parametrize("length", BLOCKS)
def test_published_decoder_blocks_are_met(length: str) -> None:
    golden = BLOCKS[length]
    found = simulate_trace(CENT / f"llama2_7b_block_8ch_seq{length}.trace.gz", MACHINE, compat=True)
    assert found.cycles == int(golden["cycles"])
    assert found.instructions == int(golden["trace_lines"])
    assert {name: found.commands[name] for name in COMMANDS if name in golden} == {
        name: int(golden[name]) for name in COMMANDS if name in golden
    }
    published_mj = json.loads(golden["energy_breakdown_mJ"])
    for unit, part in PUBLISHED_PARTS.items():
        assert found.energy_by_unit_j[unit] * 1e3 == pytest.approx(published_mj[part], abs=0.5e-6)
    assert found.standby_j * 1e3 == pytest.approx(published_mj["ACT_STBY"] + published_mj["PRE_STBY"], abs=1e-6)


@given(traces())
def test_shortcuts_change_no_cycle_of_the_reference(text: str) -> None:
    trace = parse_aim_trace(text, MACHINE)
    assert outcome(run_aim_trace(trace, MACHINE)) == outcome(run_aim_trace(trace, MACHINE, shortcut=False))


@given(traces())
def test_shortcuts_change_no_cycle_of_faithful_runs(text: str) -> None:
    trace = parse_aim_trace(text, MACHINE)
    for machine in (MACHINE, REFERENCE):
        run = run_aim_trace(trace, machine, faithful=True)
        assert outcome(run) == outcome(run_aim_trace(trace, machine, faithful=True, shortcut=False))


@given(traces())
def test_faithful_runs_leave_nothing_undone(text: str) -> None:
    trace = parse_aim_trace(text, MACHINE)
    asked = np.zeros(len(COMMANDS), dtype=np.int64)
    for command, count, mask, _, _ in trace.lines.tolist():
        if command >= 0 and COMMANDS[command] not in ("SYNC", "EOC"):
            asked[command] += count * mask.bit_count()
    in_order = run_aim_trace(trace, MACHINE, faithful=True)
    reference = run_aim_trace(trace, REFERENCE, faithful=True)
    for name in ("MAC16", "WR", "WRA16", "EWMUL16", "RDMAC16", "WRGB", "AF16", "RDCP", "MAC"):
        assert in_order.command_counts[name] == asked[COMMAND_INDEX[name]]
        assert reference.command_counts[name] == asked[COMMAND_INDEX[name]]
    assert in_order.command_counts["RD"] == asked[COMMAND_INDEX["RD"]]


@pytest.mark.parametrize("name", ["gemv_M4096_K4096_ch32_batched32", "ewmul_64", "rd_sbk_4banks"])
def test_faithful_in_order_channels_refresh_and_take_longer(name: str) -> None:
    run = run_aim_trace(parse_aim_trace(trace_text(name), MACHINE), MACHINE, faithful=True)
    golden = int(ROWS[name]["cycles"])
    interval = MACHINE.near_bank.timing.nREFI if MACHINE.near_bank else 0
    assert run.command_counts["REFab"] == 32 * (run.cycles // interval)
    assert golden - 60 < run.cycles < golden * 1.08 + 200


@given(traces())
def test_compiled_reader_reads_what_the_plain_one_reads(text: str) -> None:
    assert MACHINE.near_bank is not None
    parser = LineParser(MACHINE.near_bank, None)
    plain = [parser.line(number, line) for number, line in enumerate(text.splitlines(), start=1)]
    assert parse_aim_trace(text, MACHINE).lines.tolist() == [list(line) for line in plain if line is not None]


@given(LINES)
def test_spelling_does_not_matter(line: str) -> None:
    plain = parse_aim_trace(f"{line}\nAiM EOC", MACHINE).lines
    spaced = line.replace(" ", " , \t").replace("AiM , \t", "AiM ISR_")
    assert (parse_aim_trace(f"\t{spaced} # why\r\nAiM EOC\nnot read", MACHINE).lines == plain).all()


def test_wrong_line_behind_right_ones_is_named() -> None:
    text = "# head\nAiM MAC_ABK 1 0x1 0\n\nAiM MAC_ABK 1 0x1ffffffff 0\nAiM EOC\n"
    with pytest.raises(InputError) as caught:
        parse_aim_trace(text, MACHINE, "t.trace")
    wanted = "t.trace:4: error: '0x1ffffffff' is not a decimal or 0x number of 32 bits"
    assert str(caught.value).splitlines()[0] == wanted


def events_of(text: str, machine: object = MACHINE, faithful: bool = True) -> tuple[AimRun, CommandEvents]:
    trace = parse_aim_trace(text, MACHINE)
    run = run_aim_trace(trace, MACHINE, faithful, log_runs=LOG_RUNS)
    assert MACHINE.near_bank is not None
    return run, expand(
        logged_runs(run.log), trace_work(trace.lines), near_bank_log_format(MACHINE.near_bank, run.in_order)
    )


@given(traces())
def test_log_holds_every_command(text: str) -> None:
    for faithful in (True, False):
        run, events = events_of(text, faithful=faithful)
        counts = np.bincount(events.command, minlength=len(COMMANDS))
        assert dict(zip(COMMANDS, counts.tolist(), strict=True)) == run.command_counts
        assert (np.diff(events.cycle) >= 0).all()
        keys = events.cycle * 32 + events.channel
        assert np.unique(keys).size == keys.size  # one command a channel and cycle


def test_log_names_place_and_cause() -> None:
    _, events = events_of("AiM WR_GB 2 0 0x1\nAiM MAC_ABK 3 0x1 7\nAiM COPY_BKGB 1 0x1 6 7\nAiM EOC")
    out = BytesIO()
    write_csv(out, events, 4)
    assert out.getvalue().decode() == "\n".join(
        [
            HEADER,
            "1,31,TMOD,,,,,instruction 1",
            "33,31,WRGB,,,,0,instruction 1",
            "35,31,WRGB,,,,1,instruction 1",
            "36,31,TMOD,,,,,instruction 2",
            "68,31,ACT16,,,7,,instruction 2",
            "124,31,MAC16,,,7,0,instruction 2",
            "126,31,MAC16,,,7,1,instruction 2",
            "128,31,MAC16,,,7,2,instruction 2",
            "134,31,RDCP,1,2,7,0,instruction 3",
            "",
        ]
    )


def test_names_with_separators_are_quoted() -> None:
    one = np.array([5])
    nowhere = np.array([NONE])
    out = BytesIO()
    write_csv(out, CommandEvents(one, one, one, nowhere, nowhere, nowhere, np.array([0]), ('a,"b"',)), 4)
    assert out.getvalue().decode().splitlines()[1] == '5,5,RDA,,,,,"a,""b"""'


def test_packed_and_plain_files_are_alike(tmp_path: Path) -> None:
    text = trace_text("gemv_M1024_K1024_ch1_group_outer")
    (tmp_path / "a.trace").write_text(text)
    (tmp_path / "a.trace.gz").write_bytes(gzip.compress(text.encode()))
    plain, packed = (simulate_trace(tmp_path / name, MACHINE) for name in ("a.trace", "a.trace.gz"))
    assert plain.to_json() == packed.to_json()


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.trace.gz"
    path.write_bytes(gzip.compress(b"AiM EOC\n" * 1000)[:-20])
    with pytest.raises(InputError, match="cannot read the trace"):
        simulate_trace(path, MACHINE)
