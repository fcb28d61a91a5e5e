"""The product against a slow model of the published simulator: golden traces, then random ones that nobody has run."""

import pytest
from aim_golden import ROWS, trace_text
from aim_reference_model import Line, run
from hypothesis import given, settings
from random_traces import traces

from isa import Machine, UnsupportedError, load_machine
from pimc.simulator.dram.tables import COMMANDS
from pimc.simulator.traces.aim.frontend import AimTrace, parse_aim_trace, run_aim_trace

MACHINE = load_machine("gddr6-aim")
FEW_CHANNELS = 3
LONGEST_CYCLES = 1000


def small_machine() -> Machine:
    near_bank = MACHINE.near_bank
    assert near_bank is not None
    return MACHINE.model_copy(update={"near_bank": near_bank.model_copy(update={"channels": FEW_CHANNELS})})


SMALL = small_machine()


def as_lines(trace: AimTrace, channels: int) -> list[Line]:
    return [
        Line(
            "" if command < 0 else COMMANDS[command],
            count,
            tuple(channel for channel in range(channels) if mask >> channel & 1),
            bank,
            row,
        )
        for command, count, mask, bank, row in trace.lines.tolist()
    ]


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if int(row["cycles"]) < LONGEST_CYCLES])
def test_model_is_the_published_simulator(name: str) -> None:
    golden = ROWS[name]
    cycles, counts = run(as_lines(parse_aim_trace(trace_text(name), MACHINE), 32), 32)
    assert cycles == int(golden["cycles"])
    assert {command: counts[command] for command in COMMANDS if command in golden} == {
        command: int(golden[command]) for command in COMMANDS if command in golden
    }


def narrowed(text: str) -> str:
    """The trace on few channels: masks by their lowest bits, numbers of channels likewise."""
    lines = []
    for line in text.splitlines():
        words = line.split()
        if words[:2] == ["R", "MEM"] or words[:2] == ["W", "MEM"]:
            words[2] = str(int(words[2]) % FEW_CHANNELS)
        words = [hex(int(word, 0) & 7 or 5) if word.startswith("0x") else word for word in words]
        lines.append(" ".join(words))
    return "\n".join(lines)


@settings(max_examples=60)
@given(traces())
def test_random_traces_take_as_long_as_in_the_model(text: str) -> None:
    trace = parse_aim_trace(narrowed(text), SMALL)
    try:
        cycles, counts = run(as_lines(trace, FEW_CHANNELS), FEW_CHANNELS)
    except TimeoutError:
        with pytest.raises(UnsupportedError):
            run_aim_trace(trace, SMALL)
        return
    found = run_aim_trace(trace, SMALL)
    assert found.cycles == cycles
    assert {name: count for name, count in found.command_counts.items() if count} == dict(counts)
