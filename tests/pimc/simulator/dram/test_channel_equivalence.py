"""Shortcuts never change a cycle: closed-form runs, and channels that are simulated once because they act alike."""

from channel_programs import ALL, Issue, counts, op, run, streams, with_near_bank
from hypothesis import given
from hypothesis import strategies as st

from isa import Machine, load_machine
from pimc.simulator.dram.channel_timing import ChannelTiming
from pimc.simulator.dram.layout import CLASSES

MACHINE = load_machine("gddr6-aim-acc16")
BUSY_REFRESH = with_near_bank(MACHINE, nREFI=700)  # many refreshes in short streams
CHANNELS = 32


def classes(timing: ChannelTiming) -> int:
    return int(timing._state[0, CLASSES])


@given(streams(), st.booleans())
def test_closed_form_runs_equal_single_commands(stream: list[Issue], refresh: bool) -> None:
    fast = ChannelTiming(BUSY_REFRESH, refresh)
    slow = ChannelTiming(BUSY_REFRESH, refresh, shortcut=False)
    assert run(fast, stream) == run(slow, stream)
    assert counts(fast) == counts(slow)
    end = fast.finish_cycle
    assert fast.row_open_cycles(end) == slow.row_open_cycles(end)


def run_channel_by_channel(stream: list[Issue], alone: list[ChannelTiming]) -> list[tuple[int, int]]:
    """Each channel in a simulator of its own that has one channel; spans over the channels of each instruction."""
    spans: list[tuple[int, int]] = []
    ready = 0
    for mnemonic, operands, wait in stream:
        ready += wait
        parts: list[tuple[int, int]] = []
        for channel, timing in enumerate(alone):
            if operands[0] >> channel & 1:
                part = timing.issue(mnemonic, [1, *operands[1:]], ready)
                parts += [part] if timing.last_counts.any() else []
        span = (min(p[0] for p in parts), max(p[1] for p in parts)) if parts else (ready, ready)
        spans.append(span)
        ready = max(ready, span[0])
    return spans


@given(streams(), st.booleans())
def test_channels_together_equal_each_alone(stream: list[Issue], refresh: bool) -> None:
    together = ChannelTiming(BUSY_REFRESH, refresh)
    alone = [ChannelTiming(with_near_bank(BUSY_REFRESH, channels=1), refresh) for _ in range(CHANNELS)]
    assert run(together, stream) == run_channel_by_channel(stream, alone)
    end = together.finish_cycle + 5000
    for timing in (together, *alone):
        timing.advance(end)
    assert together.command_counts.tolist() == sum(timing.command_counts for timing in alone).tolist()
    assert together.row_open_cycles(end) == sum(timing.row_open_cycles(end) for timing in alone)


def test_parted_channels_join_again_when_nothing_tells_them_apart() -> None:
    timing = ChannelTiming(MACHINE, refresh=False)
    append = [op("open"), op("stb", ch=1, bank=3, cols=4)]
    run(timing, append)
    assert classes(timing) == 2
    run(timing, [op("mac", cols=4), op("rdacc", count=2), op("mac", 400, addr=64, cols=4)])
    assert classes(timing) == 1


def test_channels_with_other_open_rows_stay_parted() -> None:
    timing = ChannelTiming(MACHINE, refresh=False)
    run(timing, [op("open", ch=1), op("open", ch=ALL - 1, addr=64), op("wrgb", 5000, cols=1)])
    assert classes(timing) == 2


SWEEPS = st.builds(
    lambda row, shift, columns, outputs, stride: op(
        "mac", addr=row * 64 + shift, cols=columns, outs=outputs, bstride=columns if stride == 0 else stride
    ),
    st.integers(0, 3),
    st.sampled_from([0, 0, 0, 5, 60]),
    st.sampled_from([1, 4, 9, 59, 64, 100]),
    st.integers(1, 60),
    st.sampled_from([0, 0, 64, 64, 128, 192, 65]),
)


TARGETS = ((MACHINE, False), (MACHINE, True), (BUSY_REFRESH, True))


@given(streams(), st.lists(SWEEPS, max_size=6), st.sampled_from([0, 0, 500, 9000]), st.sampled_from(TARGETS))
def test_closed_form_sweeps_equal_single_rows(
    stream: list[Issue], sweeps: list[Issue], wait: int, target: tuple[Machine, bool]
) -> None:
    issues = [*stream, *(sweep._replace(wait=wait) for sweep in sweeps), *stream]
    fast, slow = ChannelTiming(*target), ChannelTiming(*target, shortcut=False)
    assert run(fast, issues) == run(slow, issues)
    assert counts(fast) == counts(slow)
    end = fast.finish_cycle
    assert fast.row_open_cycles(end) == slow.row_open_cycles(end)
