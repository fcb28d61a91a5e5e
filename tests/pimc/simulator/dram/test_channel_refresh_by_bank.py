"""Refresh of one bank after the other: when, where, and what goes on meanwhile."""

import numpy as np
import pytest
from channel_programs import Issue, counts, op, run, streams, with_near_bank
from hypothesis import given, settings
from random_traces import traces

from isa import Machine, MachineError, load_machine
from pimc.simulator.dram.channel_timing import ChannelTiming
from pimc.simulator.dram.layout import LOG_WIDTH
from pimc.simulator.dram.tables import COMMANDS
from pimc.simulator.traces.aim.frontend import parse_aim_trace, run_aim_trace

BANKS = 16
DURATION, APART = 105, 21  # nRFCpb, nRREFD


def by_bank(machine: Machine, **timing: int) -> Machine:
    changed = with_near_bank(machine, **timing) if timing else machine
    near_bank = changed.near_bank
    assert near_bank is not None
    refresh = near_bank.refresh.model_copy(update={"mode": "per_bank"})
    return changed.model_copy(update={"near_bank": near_bank.model_copy(update={"refresh": refresh})})


MACHINE = by_bank(load_machine("gddr6-aim"))
BUSY = by_bank(load_machine("gddr6-aim"), nREFI=3680)
INTERVAL = 3800 // BANKS


def refreshes(timing: ChannelTiming) -> list[tuple[int, int]]:
    """Cycle and bank of each refresh in channel 0."""
    runs = timing.end_log()
    assert runs.shape[1] == LOG_WIDTH
    own = runs[(runs[:, 1] == COMMANDS.index("REFpb")) & (runs[:, 6] & 1 == 1)]
    return [(int(cycle), int(bank)) for cycle, bank in own[:, [0, 2]]]


def test_idle_channel_refreshes_its_banks_in_turn() -> None:
    timing = ChannelTiming(MACHINE)
    timing.begin_log(1000)
    timing.advance(20 * INTERVAL + 1)
    found = refreshes(timing)
    assert found == [(number * INTERVAL, (number - 1) % BANKS) for number in range(1, 21)]


def test_bank_cannot_be_opened_while_it_is_refreshed_and_others_can() -> None:
    ready = INTERVAL + 1
    same, other = ChannelTiming(MACHINE), ChannelTiming(MACHINE)
    assert same.issue(*op("ldb", ch=1, bank=0, cols=1)[:2], ready)[0] == INTERVAL + DURATION
    assert other.issue(*op("ldb", ch=1, bank=5, cols=1)[:2], ready)[0] == INTERVAL + APART


def test_open_bank_is_refreshed_at_the_row_border() -> None:
    timing = ChannelTiming(MACHINE)
    timing.begin_log(1000)
    run(timing, [op("mac", addr=row * 64, cols=64) for row in range(12)])
    runs = timing.end_log()
    names = [COMMANDS[command] for command in runs[:, 1]]
    for place in (place for place, name in enumerate(names) if name == "REFpb"):
        assert names[place - 1] in ("PREA", "REFpb")
        assert names[place + 1] in ("ACT16", "REFpb")


def test_refresh_is_forced_when_too_many_are_owed() -> None:
    timing = ChannelTiming(BUSY)
    run(timing, [op("mac", cols=1, outs=255) for _ in range(60)])
    assert counts(timing)["PRE"] > 0
    assert counts(timing)["REFpb"] > 0


@settings(max_examples=30)
@given(streams())
def test_shortcuts_change_no_cycle(stream: list[Issue]) -> None:
    fast, slow = ChannelTiming(BUSY), ChannelTiming(BUSY, shortcut=False)
    assert run(fast, stream) == run(slow, stream)
    assert counts(fast) == counts(slow)


@settings(max_examples=30)
@given(streams())
def test_no_refresh_is_lost(stream: list[Issue]) -> None:
    timing = ChannelTiming(BUSY)
    run(timing, stream)
    end = timing.finish_cycle + 20_000
    timing.advance(end)
    due = 32 * (end // 230)
    assert due - 32 <= counts(timing)["REFpb"] <= due + 32
    assert "REFab" not in counts(timing)


@pytest.mark.parametrize("controller", ["in_order", "aim_reference"])
@settings(max_examples=20)
@given(text=traces())
def test_traces_run_with_either_controller(controller: str, text: str) -> None:
    machine = BUSY.model_copy(update={"controller": controller})
    trace = parse_aim_trace(text, machine)
    fast = run_aim_trace(trace, machine, faithful=True)
    slow = run_aim_trace(trace, machine, faithful=True, shortcut=False)
    assert (fast.cycles, fast.command_counts) == (slow.cycles, slow.command_counts)
    owed = fast.cycles // 230 * 32 - fast.command_counts["REFpb"]
    assert owed <= 32 * (8 * BANKS + 2)


def test_refreshes_that_leave_no_time_are_refused() -> None:
    with pytest.raises(MachineError, match="refreshes of single banks leave no time to open a row"):
        ChannelTiming(by_bank(load_machine("gddr6-aim"), nREFI=1600))


def test_refreshes_take_their_share_of_the_energy() -> None:
    from pimc.simulator.accounting.energy import EnergyModel

    near_bank = MACHINE.near_bank
    assert near_bank is not None
    one = np.array([name == "REFpb" for name in COMMANDS], dtype=np.int64)
    assert EnergyModel(MACHINE).dram_energy_j(BANKS * one).total_j == pytest.approx(near_bank.energy.refresh_pj * 1e-12)
