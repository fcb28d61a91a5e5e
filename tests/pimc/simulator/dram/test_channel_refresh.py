"""Refresh: when it is due, where it falls, what it costs, how long it may be put off."""

import pytest
from channel_programs import Issue, counts, op, run, streams, with_near_bank
from hypothesis import given

from isa import load_machine
from pimc.simulator.dram.channel_timing import ChannelTiming

MACHINE = load_machine("gddr6-aim-acc16")
INTERVAL, DURATION = 3800, 210
ROW = 64  # columns
ROW_CYCLES = 2 * 63 + 12 + 32 + 56  # from the first MAC of a row to that of the next


def test_machine_decides_unless_told() -> None:
    stream = [op("mac", addr=row * ROW, cols=64) for row in range(40)]
    refreshed, quiet = ChannelTiming(MACHINE), ChannelTiming(MACHINE, refresh=False)
    never = ChannelTiming(MACHINE.model_copy(update={"near_bank": with_refresh("none")}))
    for timing in (refreshed, quiet, never):
        run(timing, stream)
    assert counts(refreshed)["REFab"] == 32 * (40 * ROW_CYCLES // INTERVAL)
    assert "REFab" not in counts(quiet)
    assert never.finish_cycle == quiet.finish_cycle


def with_refresh(mode: str) -> object:
    near_bank = MACHINE.near_bank
    assert near_bank is not None
    return near_bank.model_copy(update={"refresh": near_bank.refresh.model_copy(update={"mode": mode})})


def test_refresh_falls_on_a_row_border_and_costs_its_duration() -> None:
    stream = [op("mac", addr=row * ROW, cols=64) for row in range(18)]
    refreshed, quiet = ChannelTiming(MACHINE), ChannelTiming(MACHINE, refresh=False)
    with_spans, without = run(refreshed, stream), run(quiet, stream)
    first_late = next(i for i, (a, b) in enumerate(zip(with_spans, without, strict=True)) if a != b)
    assert first_late == -(-(INTERVAL - 56) // ROW_CYCLES)
    late = [a[1] - b[1] for a, b in zip(with_spans, without, strict=True)]
    assert set(late[first_late:]) == {DURATION}  # PREA, REFab, ACT16 in place of PREA, ACT16
    assert with_spans[first_late][0] == without[first_late][0]  # the same PREA opens the border


def test_refresh_is_put_off_until_eight_are_owed() -> None:
    machine = with_near_bank(MACHINE, nREFI=1000)
    last_allowed = (9 * 1000 - 56 + 1) // 2  # MACs of one open row before cycle 9,000
    patient, forced = ChannelTiming(machine), ChannelTiming(machine)
    assert run(patient, [op("mac", cols=1, outs=last_allowed)])[0] == (0, 8999)
    assert "REFab" not in counts(patient)
    run(forced, [op("mac", cols=1, outs=last_allowed + 1)])
    refreshes = counts(forced)["REFab"] // 32
    last_mac, reopened = 8998, 12 + 32 + refreshes * DURATION + 56
    assert forced.finish_cycle == last_mac + reopened + 1
    assert counts(forced) == {"ACT16": 64, "PREA": 32, "REFab": 32 * refreshes, "MAC16": 32 * (last_allowed + 1)}
    assert 1000 * refreshes <= forced.finish_cycle < 1000 * (refreshes + 1)


def test_idle_channel_with_closed_rows_is_refreshed_on_time() -> None:
    timing = ChannelTiming(MACHINE)
    ready = 10 * INTERVAL + DURATION
    assert timing.issue(*op("mac", cols=1)[:2], ready) == (ready, ready + 57)
    assert counts(timing)["REFab"] == 320


def test_refresh_under_way_delays_the_activation() -> None:
    timing = ChannelTiming(MACHINE)
    assert timing.issue(*op("mac", cols=1)[:2], INTERVAL + 1) == (INTERVAL + DURATION, INTERVAL + DURATION + 57)


def test_refresh_leaves_buffers_and_accumulators_usable() -> None:
    timing = ChannelTiming(MACHINE)
    assert timing.issue(*op("rdacc", count=1)[:2], INTERVAL + 1) == (INTERVAL + 1, INTERVAL + 1 + 32 + 2)


def test_open_row_survives_short_idleness_and_is_closed_after_a_row_cycle() -> None:
    short, long = ChannelTiming(MACHINE), ChannelTiming(MACHINE)
    for timing in (short, long):
        timing.issue(*op("mac", INTERVAL, cols=1)[:2], INTERVAL - 100)
    idle_since = INTERVAL - 100 + 57
    assert short.issue(*op("mac", cols=1)[:2], idle_since + 89) == (idle_since + 89, idle_since + 90)
    assert "REFab" not in counts(short)
    closed = idle_since + 89
    _, finish = long.issue(*op("mac", cols=1)[:2], idle_since + 90)
    assert finish == closed + 32 + DURATION + 57
    assert counts(long) == {"ACT16": 64, "MAC16": 64, "PREA": 32, "REFab": 32}


def test_end_of_a_run_refreshes_idle_channels() -> None:
    timing = ChannelTiming(MACHINE)
    run(timing, [op("mac", ch=1, cols=1)])
    timing.advance(2 * INTERVAL + 1)
    assert counts(timing) == {"ACT16": 1, "MAC16": 1, "PREA": 1, "REFab": 64}
    assert timing.last_counts.sum() == 65
    assert timing.row_open_cycles(2 * INTERVAL) == INTERVAL


@given(streams())
def test_no_refresh_is_owed_beyond_the_limit(stream: list[Issue]) -> None:
    machine = with_near_bank(MACHINE, nREFI=700)
    timing = ChannelTiming(machine)
    run(timing, stream)
    end = timing.finish_cycle
    timing.advance(end)
    due = 32 * (end // 700)
    assert due - 32 * 9 <= counts(timing).get("REFab", 0) <= due + 32


@pytest.mark.parametrize("interval", [600, 1000, 3800])
def test_streaming_pays_the_published_share(interval: int) -> None:
    stream = [op("mac", addr=row * ROW, cols=64) for row in range(400)]
    refreshed, quiet = ChannelTiming(with_near_bank(MACHINE, nREFI=interval)), ChannelTiming(MACHINE, refresh=False)
    run(refreshed, stream)
    run(quiet, stream)
    refreshes = counts(refreshed)["REFab"] // 32
    assert refreshed.finish_cycle == quiet.finish_cycle + refreshes * DURATION
    assert abs(refreshes - refreshed.finish_cycle / interval) <= 2
