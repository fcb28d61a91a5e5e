"""Traces of the published AiM simulator: its cycles, commands, open rows and energies; errors in traces."""

import numpy as np
import pytest
from aim_golden import ROWS, trace_text

from isa import InputError, UnsupportedError, load_machine
from pimc.simulator.accounting.energy import EnergyModel
from pimc.simulator.dram.tables import COMMANDS
from pimc.simulator.traces.aim.frontend import parse_aim_trace, run_aim_trace

MACHINE = load_machine("gddr6-aim")
ENERGY_COLUMNS = {
    "dram_activation": "E_act_pre_nJ",
    "dram_read": "E_rd_nJ",
    "dram_write": "E_wr_nJ",
    "dram_compute": "E_pim_nJ",
    "dram_interface": "E_dq_nJ",
}


@pytest.mark.parametrize("name", ROWS)
def test_reference_is_met_to_the_cycle(name: str) -> None:
    golden = ROWS[name]
    run = run_aim_trace(parse_aim_trace(trace_text(name), MACHINE), MACHINE)
    assert run.cycles == int(golden["cycles"])
    assert run.row_open_cycles == int(golden["active_cycles_all_ch"])
    assert {command: run.command_counts[command] for command in COMMANDS if command in golden} == {
        command: int(golden[command]) for command in COMMANDS if command in golden
    }


@pytest.mark.parametrize("name", ROWS)
def test_published_energies_are_met(name: str) -> None:
    golden = ROWS[name]
    run = run_aim_trace(parse_aim_trace(trace_text(name), MACHINE), MACHINE)
    counts = np.array([run.command_counts[command] for command in COMMANDS])
    energy = EnergyModel(MACHINE, "paper").dram_energy_j(counts)
    printed = 0.5e-4  # the reference prints nJ with four decimals
    for unit, column in ENERGY_COLUMNS.items():
        assert energy.by_unit[unit] * 1e9 == pytest.approx(float(golden[column]), rel=1e-6, abs=printed)


def run_text(text: str) -> tuple[int, dict[str, int]]:
    run = run_aim_trace(parse_aim_trace(text, MACHINE), MACHINE)
    return run.cycles, {name: count for name, count in run.command_counts.items() if count}


def test_comments_and_blank_lines_take_no_time() -> None:
    plain = "AiM MAC_ABK 2 0x1 0\nAiM EOC\n"
    assert run_text(f"# note\n\n{plain}") == run_text(plain)


def test_front_end_lines_take_a_cycle_and_no_command() -> None:
    assert run_text("AiM EOC") == (2, {})
    assert run_text("W GPR 0\nR GPR 0\nAiM EWADD 4 0 1\nW CFR 0 1\nAiM EOC") == (6, {})


def test_configuration_register_selects_the_activation_row() -> None:
    same = "AiM AF 0x1\nAiM AF 0x1\nAiM EOC"
    other = "AiM AF 0x1\nW CFR 2 1\nAiM AF 0x1\nAiM EOC"
    assert run_text(same)[1] == {"ACT16": 1, "AF16": 2}
    assert run_text(other)[1] == {"ACT16": 2, "PREA": 1, "AF16": 2}


def test_mask_bit_counts_channels_from_the_last() -> None:
    text = "W MEM {channel} 0 0\nAiM MAC_ABK 1 0x1 0\nAiM EOC"
    together, apart = run_text(text.format(channel=31)), run_text(text.format(channel=0))
    assert together[1] == apart[1] == {"ACT": 1, "WR": 1, "ACT16": 1, "MAC16": 1}
    assert together[0] > apart[0]


def test_read_is_answered_from_queued_writes() -> None:
    _, counts = run_text("W MEM 0 0 0\n" * 20 + "R MEM 0 1 5\nAiM SYNC\nAiM EOC\n")
    assert counts == {"ACT": 1, "WR": 20}


def test_refused_line_holds_up_the_next_one() -> None:
    alone, _ = run_text("AiM MAC_ABK 64 0x2 0\nAiM EOC")
    behind, _ = run_text("AiM MAC_ABK 64 0x1 0\nAiM MAC_ABK 64 0x2 0\nAiM EOC")
    first_mac, accepted_after = 1 + 56, 64 - 33
    assert behind - alone == first_mac + 2 * (accepted_after - 1) + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("AiM FLY 1\nAiM EOC", "unknown opcode 'FLY'"),
        ("AiM RD_MAC 0\nAiM EOC", "'AiM RD_MAC' takes 2 fields (register mask), not 1"),
        ("AiM RD_MAC 0 xyz\nAiM EOC", "'xyz' is not a decimal or 0x number of 32 bits"),
        ("AiM RD_MAC 0 -1\nAiM EOC", "'-1' is not a decimal or 0x number of 32 bits"),
        ("AiM RD_MAC 0 +1\nAiM EOC", "'+1' is not a decimal or 0x number of 32 bits"),
        ("AiM RD_MAC 0 1_0\nAiM EOC", "'1_0' is not a decimal or 0x number of 32 bits"),
        ("AiM RD_MAC 0 \u0661\nAiM EOC", "'\u0661' is not a decimal or 0x number of 32 bits"),
        ("AiM RD_MAC 0 0x\nAiM EOC", "'0x' is not a decimal or 0x number of 32 bits"),
        (f"AiM RD_MAC 0 {'9' * 5000}\nAiM EOC", f"'{'9' * 5000}' is not a decimal or 0x number of 32 bits"),
        ("AiM MAC_ABK 1 0x1 16384\nAiM EOC", "row 16384 is not below 16384"),
        ("W MEM 32 0 0\nAiM EOC", "channel 32 is not below 32"),
        ("AiM AF 0x0\nAiM EOC", "the channel mask names no channel"),
        ("W DISK 0\nAiM EOC", "unknown region 'DISK'"),
        ("HELLO\nAiM EOC", "a trace line starts with 'AiM', 'R' or 'W' and what it does"),
    ],
)
def test_wrong_line_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_aim_trace(text, MACHINE, "t.trace")
    assert caught.value.message == message
    assert str(caught.value).startswith(f"t.trace:1: error: {message}\n  {text.splitlines()[0]}")


def test_all_wrong_lines_are_named() -> None:
    text = "AiM FLY 1\n# a comment\nAiM MAC_ABK 1 0x1 0\nW MEM 32 0 0\nR GPR x\n"
    with pytest.raises(InputError) as caught:
        parse_aim_trace(text, MACHINE, "t.trace")
    told = [line for line in str(caught.value).splitlines() if "error:" in line]
    assert told == [
        "t.trace:1: error: unknown opcode 'FLY'",
        "t.trace:4: error: channel 32 is not below 32",
        "t.trace:5: error: 'x' is not a decimal or 0x number of 32 bits",
        "t.trace: error: the trace does not end with 'AiM EOC'",
    ]


def test_reading_stops_after_twenty_wrong_lines() -> None:
    with pytest.raises(InputError) as caught:
        parse_aim_trace("W DISK 0\n" * 50, MACHINE, "t.trace")
    assert str(caught.value).count("error:") == 20
    assert str(caught.value).endswith("note: reading stopped after 20 wrong lines")


def test_trace_without_end_is_refused() -> None:
    with pytest.raises(InputError, match="the trace does not end with 'AiM EOC'"):
        parse_aim_trace("AiM RD_MAC 0 0x1\n", MACHINE)


def test_trace_that_never_ends_is_refused() -> None:
    # Where a row may close before it can be written, a write and a MAC take the bank from each other for ever.
    near_bank = MACHINE.near_bank
    assert near_bank is not None
    timing = near_bank.timing.model_copy(update={"nRAS": 5, "nRC": 10})
    machine = MACHINE.model_copy(update={"near_bank": near_bank.model_copy(update={"timing": timing})})
    trace = parse_aim_trace("W MEM 31 0 1\nAiM MAC_ABK 1 0x1 2\nAiM EOC", machine)
    with pytest.raises(UnsupportedError, match="the reference simulator never finishes this trace"):
        run_aim_trace(trace, machine)
