"""AttAcc traces: barriers, refreshes, reads and writes, the rules that the reference lacks, errors."""

from collections import Counter
from pathlib import Path

import pytest

from isa import InputError, MachineError, UnsupportedError, load_machine
from pimc.simulator.traces.attacc.frontend import AttaccRun, run_attacc_trace
from pimc.simulator.traces.attacc.streams import AttentionShape, attention_trace

MACHINE = load_machine("hbm3-attacc")
DEVICE = MACHINE.dram
assert DEVICE is not None
ROW_BYTES = DEVICE.columns_per_row * DEVICE.column_bytes
BANK_BYTES = DEVICE.rows * ROW_BYTES


def run(*lines: str, compat: bool = True) -> AttaccRun:
    return run_attacc_trace("\n".join(lines), MACHINE, compat=compat)


def log(*lines: str) -> list[tuple[int, str]]:
    return [(command.cycle, command.name) for command in run(*lines).channel_log(0)]


def test_multiplication_opens_its_row() -> None:
    assert log("PIM_MAC_AB 0x0", "PIM_MAC_AB 0x20") == [(1, "ACTAB"), (20, "MACAB"), (26, "MACAB")]


def test_lifting_the_power_limit_shortens_the_distance_of_multiplications() -> None:
    text = "PIM_MAC_AB 0x0\nPIM_MAC_AB 0x20"
    limited, free = (run_attacc_trace(text, MACHINE, power_limit=limit).cycles for limit in (True, False))
    assert (limited, free) == (26, 24)


def test_row_and_column_commands_share_a_cycle() -> None:
    assert log("PIM_MV_SB 0x0", "PIM_MAC_AB 0x0")[:2] == [(1, "MVSB"), (1, "ACTAB")]


def test_row_change_waits_for_the_last_multiplication() -> None:
    lines = [f"PIM_MAC_AB {column * 32}" for column in range(8)] + [f"PIM_MAC_AB {ROW_BYTES}"]
    last = 20 + 7 * 6
    assert log(*lines)[-3:] == [(last + 8, "PREA"), (last + 27, "ACTAB"), (last + 46, "MACAB")]


def test_requests_overtake_each_other_up_to_a_barrier() -> None:
    move, multiply, barrier = f"PIM_MV_SB {4 * BANK_BYTES}", "PIM_MAC_AB 0x0", "PIM_BARRIER 0x0"
    assert log(multiply, move) == [(1, "ACTAB"), (1, "MVSB"), (20, "MACAB")]
    assert log(multiply, barrier, move) == [(1, "ACTAB"), (20, "MACAB"), (21, "MVSB")]


def test_requests_do_not_overtake_one_that_finds_its_row_open_in_their_bank() -> None:
    assert log("PIM_MAC_AB 0x0", "PIM_MV_SB 0x0") == [(1, "ACTAB"), (20, "MACAB"), (21, "MVSB")]


def test_rows_open_beyond_a_barrier() -> None:
    assert log("PIM_MV_SB 0x0", "PIM_MV_SB 0x0", "PIM_BARRIER 0x0", "PIM_MAC_AB 0x0") == [
        (1, "MVSB"),
        (1, "ACTAB"),
        (5, "MVSB"),
        (20, "MACAB"),
    ]


def test_full_queue_holds_up_the_next_channel() -> None:
    channel_bytes = DEVICE.span("channel") * BANK_BYTES
    lines = ["PIM_MAC_AB 0x0"] * 34 + [f"PIM_MV_SB {channel_bytes}"]
    other = run(*lines).channel_log(1)
    assert [(command.cycle, command.name) for command in other] == [(21, "MVSB")]


def test_channels_refresh_both_pseudo_channels_when_due() -> None:
    trace = attention_trace(MACHINE, AttentionShape(4096))
    refreshes = [each for each in run_attacc_trace(trace, MACHINE).channel_log(3) if each.name == "REFab"]
    assert [(each.cycle, each.bank) for each in refreshes] == [(5070, 0), (5071, 32)]


def test_conventional_read_opens_and_arrives() -> None:
    assert log("LD 0x0") == [(1, "ACT"), (20, "RD")]
    assert run("LD 0x0").cycles == 20 + 19 + 2


def test_read_of_a_waiting_write_does_not_reach_the_bank() -> None:
    counts = run("ST 0x40", "LD 0x40").command_counts
    assert (counts["WR"], counts["RD"]) == (1, 0)


def test_row_that_a_read_opened_stays_until_it_is_read() -> None:
    names = [name for _, name in log("LD 0x0", f"LD {ROW_BYTES}")]
    assert names == ["ACT", "RD", "PRE", "ACT", "RD"]


def test_four_activations_fill_the_window() -> None:
    lines = [f"LD {bank * BANK_BYTES}" for bank in (0, 4, 8, 12, 1)]
    activations = [cycle for cycle, name in log(*lines) if name == "ACT"]
    assert activations == [1, 3, 5, 7, 1 + 39]


def test_rules_that_the_reference_lacks_can_be_added() -> None:
    trace = attention_trace(MACHINE, AttentionShape(4096))
    published = run_attacc_trace(trace, MACHINE)
    ours = run_attacc_trace(trace, MACHINE, compat=False)
    assert ours.command_counts == published.command_counts
    # Once, a refresh of both pseudo channels waits nRP for the rows to close; the second one is one cycle later.
    assert ours.cycles - published.cycles == 19


def test_trace_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    path.write_text("PIM_SFM 0x0\n")
    assert run_attacc_trace(path, MACHINE).cycles == 1
    with pytest.raises(InputError, match="the trace cannot be read"):
        run_attacc_trace(tmp_path / "none.trace", MACHINE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PIM_FLY 0x0", "unknown request 'PIM_FLY'"),
        ("PIM_SFM", "a trace line is a request and an address"),
        ("PIM_SFM 0x0 1", "a trace line is a request and an address"),
        ("PIM_SFM zero", "'zero' is not a decimal or 0x address"),
        ("PIM_SFM -1", "'-1' is not a decimal or 0x address"),
    ],
)
def test_wrong_line_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.trace"
    path.write_text(f"PIM_BARRIER 0x0\n{text}\n")
    with pytest.raises(InputError) as caught:
        run_attacc_trace(path, MACHINE)
    assert caught.value.message == message
    assert str(caught.value).startswith(f"{path}:2: error: {message}\n  {text}")


def test_empty_trace_is_refused() -> None:
    with pytest.raises(InputError, match="the trace holds no request"):
        run("")


def test_other_machines_are_refused() -> None:
    message = "the machine 'gddr6-aim' has no DRAM with the controller 'attacc_reference'"
    with pytest.raises(MachineError, match=message):
        run_attacc_trace("PIM_SFM 0x0", load_machine("gddr6-aim"))
    with pytest.raises(MachineError, match=message):
        attention_trace(load_machine("gddr6-aim"), AttentionShape(256))


def requests(shape: AttentionShape) -> dict[str, int]:
    return dict(Counter(line.split()[0] for line in attention_trace(MACHINE, shape).splitlines()))


KEYS = VALUES = 32  # multiplications of a head with 256 tokens
HEAD = {"PIM_WR_GB": 8, "PIM_MV_SB": 24, "PIM_MV_GB": 8, "PIM_SFM": 1, "PIM_MAC_AB": KEYS + VALUES}
OPENED_AHEAD = 16


def test_rounds_of_heads_go_in_pairs_and_one_alone() -> None:
    found = requests(AttentionShape(256, heads=48))
    of_a_pair, alone = 1 + 2 * 1 + 2 * 2, 1 + 1 + 1 + 2
    assert found.pop("PIM_BARRIER") == 16 * (of_a_pair + alone)
    assert found.pop("PIM_MAC_AB") == 48 * (KEYS + VALUES) + OPENED_AHEAD
    assert found == {name: 48 * count for name, count in HEAD.items() if name != "PIM_MAC_AB"}


def test_second_round_of_a_pair_multiplies_with_the_values_of_the_first() -> None:
    found = requests(AttentionShape(256, heads=20))
    assert found["PIM_MAC_AB"] == 20 * KEYS + (16 + 16) * VALUES + OPENED_AHEAD
    assert found["PIM_MV_SB"] == 20 * 8 + (16 + 16) * 16


def test_what_does_not_go_in_even_shares_is_left_out() -> None:
    assert requests(AttentionShape(4096, heads=17))["PIM_WR_GB"] == 16 * 8  # 8 requests beside 16 phases: none in each


def test_second_round_lies_behind_the_first() -> None:
    lines = attention_trace(MACHINE, AttentionShape(256, heads=17)).splitlines()
    addresses = sorted({int(line.split()[1], 16) for line in lines if line.startswith("PIM_WR_GB")})
    assert 4096 * 128 // 64 in addresses  # room for the longest context of a head of 128 elements in a bank


@pytest.mark.parametrize("heads", [17, 40, 64])
def test_more_heads_take_longer(heads: int) -> None:
    one_round = run_attacc_trace(attention_trace(MACHINE, AttentionShape(256, heads=16)), MACHINE)
    found = run_attacc_trace(attention_trace(MACHINE, AttentionShape(256, heads=heads)), MACHINE)
    rounds = -(-heads // 16)
    assert one_round.cycles < found.cycles < rounds * one_round.cycles  # softmax overlaps in pairs


def test_a_layer_has_heads() -> None:
    with pytest.raises(UnsupportedError, match="0 heads: a layer has at least one"):
        attention_trace(MACHINE, AttentionShape(256, heads=0))
