"""Each near-bank instruction in cycles and commands, worked out by hand from the timing of the default machine."""

import pytest
from channel_programs import counts, op, run, with_near_bank

from isa import INSTRUCTIONS, MachineError, load_machine
from pimc.simulator.dram.channel_timing import ChannelTiming
from pimc.simulator.dram.command_timing import CommandTiming
from pimc.simulator.dram.tables import COMMANDS

MACHINE = load_machine("gddr6-aim-acc16")
ROW = 64  # columns


@pytest.fixture
def timing() -> ChannelTiming:
    return ChannelTiming(MACHINE, refresh=False)


def test_mac_opens_the_row_and_streams_columns(timing: ChannelTiming) -> None:
    assert run(timing, [op("mac", cols=64)]) == [(0, 56 + 2 * 63 + 1)]
    assert counts(timing) == {"ACT16": 32, "MAC16": 32 * 64}


def test_mac_in_the_open_row_continues_the_stream(timing: ChannelTiming) -> None:
    first, second = run(timing, [op("mac", cols=10), op("mac", addr=20, cols=5)])
    assert first == (0, 56 + 18 + 1)
    assert second == (56 + 20, 56 + 20 + 8 + 1)


def test_mac_crosses_row_borders_by_itself(timing: ChannelTiming) -> None:
    (span,) = run(timing, [op("mac", addr=60, cols=8)])
    border = 56 + 2 * 3 + 12 + 32 + 56  # last MAC of the first row, PREA, ACT16, first MAC of the second
    assert span == (0, border + 2 * 3 + 1)
    assert counts(timing) == {"ACT16": 64, "PREA": 32, "MAC16": 32 * 8}


def test_mac_sweeps_outputs_one_after_the_other(timing: ChannelTiming) -> None:
    (span,) = run(timing, [op("mac", cols=9, outs=7, bstride=9)])
    assert span == (0, 56 + 2 * 62 + 1)
    run(timing, [op("mac", addr=0, cols=16, outs=3, bstride=ROW)])
    assert counts(timing)["ACT16"] == 32 * 3


def test_outputs_that_change_rows_pay_for_each(timing: ChannelTiming) -> None:
    (span,) = run(timing, [op("mac", cols=4, outs=3, bstride=ROW)])
    assert span == (0, 56 + 2 * (2 * 3 + 12 + 32 + 56 - 2 * 3) + 3 * 6 + 1)


def test_register_work_pays_the_mode_switch_once(timing: ChannelTiming) -> None:
    spans = run(timing, [op("wrgb", cols=36), op("wracc", count=8)])
    assert spans == [(0, 32 + 2 * 35 + 1 + 2), (32 + 72, 32 + 72 + 14 + 1 + 2)]
    assert counts(timing) == {"TMOD": 32, "WRGB": 32 * 36, "WRMAC16": 32 * 8}


def test_reads_wait_for_the_turnaround_of_accumulator_writes(timing: ChannelTiming) -> None:
    _, read = run(timing, [op("wracc", count=1), op("rdacc", count=4)])
    first = 32 + 1 + 2 + 11  # nCWLREG + nBL + nWTRL
    assert read == (first, first + 2 * 3 + 0 + 2)


def test_mode_switch_takes_the_place_of_the_next_command(timing: ChannelTiming) -> None:
    _, read, after = run(timing, [op("mac", cols=1), op("rdacc", count=1), op("mac", addr=ROW, cols=1)])
    assert read == (56 + 2, 56 + 2 + 32 + 2)
    switch_back = 56 + 2 + 32 + 1  # the PREA could have issued here
    assert after == (switch_back, switch_back + 32 + 32 + 56 + 1)


def test_accumulators_of_32_bits_are_read_twice() -> None:
    wide = ChannelTiming(with_near_bank(MACHINE, acc_read_bits=32), refresh=False)
    assert run(wide, [op("rdacc", count=5)]) == [(0, 32 + 2 * 9 + 2)]
    assert counts(wide)["RDMAC16"] == 32 * 10


def test_open_ahead_hides_the_activation(timing: ChannelTiming) -> None:
    spans = run(timing, [op("open", addr=5 * ROW + 7), op("open", addr=5 * ROW), op("mac", 500, addr=5 * ROW, cols=1)])
    assert spans == [(0, 1), (0, 0), (500, 501)]
    assert counts(timing) == {"ACT16": 32, "MAC16": 32}


def test_bank_reads_and_writes_open_one_bank(timing: ChannelTiming) -> None:
    spans = run(timing, [op("ldb", ch=1, bank=6, cols=4), op("stb", ch=1, bank=6, addr=4, cols=4)])
    read = (0, 36 + 2 * 3 + 50 + 2)
    write = 36 + 2 * 3 + 50 + 2 + 3 - 6 + 1  # nCL + nBL + 3 - nCWL + nWPRE after the last read
    assert spans == [read, (write, write + 2 * 3 + 6 + 2)]
    assert counts(timing) == {"ACT": 1, "RD": 4, "WR": 4}


def test_bank_access_finds_the_row_open_in_all_banks(timing: ChannelTiming) -> None:
    _, store, product = run(timing, [op("open"), op("stb", ch=2, bank=3, cols=4), op("mac", ch=2, cols=1)])
    assert store == (28, 28 + 6 + 8)
    assert product == (56, 57)  # nRCDRDMAC after the activation, later than the written data
    assert counts(timing) == {"ACT16": 32, "WR": 4, "MAC16": 1}


def test_mac_waits_for_written_data(timing: ChannelTiming) -> None:
    _, _, product = run(timing, [op("mac", cols=1), op("stb", bank=3, cols=1), op("mac", cols=1)])
    written = 56 + 1
    assert product == (written + 6 + 2 + 11, written + 6 + 2 + 11 + 1)


def test_store_lane_writes_a_word_a_bank_and_a_stripe_a_column(timing: ChannelTiming) -> None:
    _, store = run(timing, [op("open", addr=3 * ROW), op("stlane", ch=4, addr=3 * ROW + 5, count=64, cstride=16)])
    assert store == (28, 28 + 2 * 63 + 6 + 2)
    assert counts(timing) == {"ACT16": 32, "WR": 64}


def test_store_lane_opens_its_rows_in_all_banks(timing: ChannelTiming) -> None:
    run(timing, [op("stlane", ch=4, addr=63, count=20, cstride=1)])
    assert counts(timing) == {"ACT16": 2, "PREA": 1, "WR": 20}


def test_store_lane_reads_first_without_write_masks() -> None:
    plain = ChannelTiming(with_near_bank(MACHINE, write_mask="none"), refresh=False)
    (span,) = run(plain, [op("stlane", ch=1, count=20)])
    turnaround, back = 50 + 2 + 3 - 6 + 1, 6 + 2 + 9  # read to write; write to read of another bank group
    last_of_first_stripe = 36 + 2 * 15 + turnaround + 2 * 15
    assert span == (0, last_of_first_stripe + back + 2 * 3 + turnaround + 2 * 3 + 6 + 2)
    assert counts(plain) == {"ACT16": 1, "RD": 20, "WR": 20}


def test_all_bank_write_closes_the_rows_each_time(timing: ChannelTiming) -> None:
    (span,) = run(timing, [op("wrab", cols=3)])
    again = 6 + 2 + 33 + 32 + 28  # from one WRA16 to the next
    assert span == (0, 28 + 2 * again + 6 + 2 + 32)
    assert counts(timing) == {"ACT16": 96, "WRA16": 96}


def test_element_wise_product(timing: ChannelTiming) -> None:
    assert run(timing, [op("ewmul", cols=64)]) == [(0, 25 + 2 * 63 + 1)]


def test_activation_function_opens_a_row_of_its_own(timing: ChannelTiming) -> None:
    spans = run(timing, [op("af", fn=0), op("af", fn=1), op("rdaf")])
    assert spans[0] == (0, 86 + 1)
    assert spans[1] == (86 + 12, 86 + 12 + 32 + 86 + 1)
    assert counts(timing) == {"ACT16": 64, "PREA": 32, "AF16": 64, "TMOD": 32, "RDAF16": 32}


def test_copies_between_bank_and_global_buffer(timing: ChannelTiming) -> None:
    assert run(timing, [op("cpbg", bank=2, cols=64)]) == [(0, 66 + 2 * 63 + 1)]
    other = ChannelTiming(MACHINE, refresh=False)
    assert run(other, [op("cpgb", bank=1, cols=64)]) == [(0, 48 + 2 * 63 + 1)]
    assert counts(other) == {"ACT": 32, "WRCP": 32 * 64}


def test_channels_overlap_and_each_stays_in_order(timing: ChannelTiming) -> None:
    spans = run(timing, [op("mac", ch=1, cols=64), op("mac", ch=2, cols=64), op("mac", ch=3, addr=ROW, cols=1)])
    assert spans[0] == spans[1] == (0, 183)
    assert spans[2] == (182 + 12, 182 + 12 + 32 + 56 + 1)


def test_start_is_the_first_channel_and_finish_the_last(timing: ChannelTiming) -> None:
    run(timing, [op("mac", ch=1, cols=64)])
    assert timing.issue(*op("mac", ch=3, cols=1)[:2], 0) == (0, 182 + 2 + 1)


def test_nothing_to_do_takes_no_time(timing: ChannelTiming) -> None:
    for idle in (op("mac", cols=0), op("mac", cols=3, outs=0), op("wrgb", cols=0), op("mac", ch=0, cols=3)):
        assert timing.issue(idle.mnemonic, idle.operands, 40) == (40, 40)
    assert counts(timing) == {}
    assert timing.finish_cycle == 40


def test_no_command_before_ready(timing: ChannelTiming) -> None:
    assert timing.issue(*op("mac", cols=1)[:2], 1000) == (1000, 1057)
    assert timing.finish_cycle == 1057


def test_counts_of_the_latest_issue(timing: ChannelTiming) -> None:
    run(timing, [op("mac", cols=3), op("wrgb", ch=5, cols=2)])
    latest = dict(zip(timing.command_names, timing.last_counts.tolist(), strict=True))
    assert {name: count for name, count in latest.items() if count} == {"TMOD": 2, "WRGB": 4}
    assert counts(timing) == {"ACT16": 32, "MAC16": 96, "TMOD": 2, "WRGB": 4}


def test_open_row_time_is_summed_over_channels(timing: ChannelTiming) -> None:
    run(timing, [op("mac", ch=1, cols=1), op("wrab", 100, ch=6, cols=1)])
    assert timing.row_open_cycles(1000) == 1000 + 2 * 28


def test_every_near_bank_instruction_has_a_timing(timing: ChannelTiming) -> None:
    for row in INSTRUCTIONS:
        if row.extension != "B":
            continue
        sizes = {operand.name: 1 for operand in row.operands if operand.name in ("cols", "count")}
        far = {operand.name: 9 * ROW for operand in row.operands if operand.name == "addr"}
        issue = op(row.mnemonic, **sizes, **far)
        start, finish = timing.issue(issue.mnemonic, issue.operands, 0)
        assert finish > start
        timing.issue(*op("mac", addr=0, cols=1)[:2], 0)


def test_machine_without_channels_is_refused() -> None:
    with pytest.raises(MachineError, match="the machine 'gddr6-aim-acc16' has no near-bank units \\(extension B\\)"):
        ChannelTiming(MACHINE.model_copy(update={"near_bank": None}))


def test_a_beat_of_codes_takes_a_slot_of_the_mac_units(timing: ChannelTiming) -> None:
    """A row has 64 columns of 4 beats of 4 bits: 256 beats as 64 columns take them, and no other row is opened."""
    assert run(timing, [op("kmac", beats=256, bits=4)]) == [(0, 56 + 2 * 255 + 1)]
    assert counts(timing) == {"ACT16": 32, "MAC16": 32 * 256}


def test_beats_cross_row_borders_by_themselves(timing: ChannelTiming) -> None:
    (span,) = run(timing, [op("kmac", addr=60, beat=12, beats=8, bits=4)])
    border = 56 + 2 * 3 + 12 + 32 + 56
    assert span == (0, border + 2 * 3 + 1)
    assert counts(timing) == {"ACT16": 64, "PREA": 32, "MAC16": 32 * 8}


def test_beats_of_outputs_are_strides_of_beats(timing: ChannelTiming) -> None:
    (span,) = run(timing, [op("kmac", beats=4, outs=3, bstride=64 * 8, bits=2)])
    assert span == (0, 56 + 2 * (2 * 3 + 12 + 32 + 56 - 2 * 3) + 3 * 6 + 1)
    assert counts(timing)["ACT16"] == 32 * 3


def test_stores_of_codes_take_as_long_as_stores_of_lanes(timing: ChannelTiming) -> None:
    """An item is a masked WR, as a word of `stlane` is; 8 beats of 2 bits lie in the same column."""
    codes = run(timing, [op("kstore", addr=63, beat=7, count=40, bstride=1, bits=2)])
    other = ChannelTiming(MACHINE, refresh=False)
    lanes = [op("stlane", addr=63, count=16), op("stlane", addr=64, count=24, cstride=0)]
    first, second = run(other, lanes)
    assert codes == [(first[0], second[1])]
    assert counts(timing) == counts(other)


@pytest.mark.parametrize(("mnemonic", "command"), [("kmac", "MAC16"), ("kstore", "WR")])
def test_commands_on_codes_keep_their_distance(mnemonic: str, command: str) -> None:
    """The last command of an instruction is legal when it is issued, and not a cycle earlier."""
    for size in range(2, 8):
        names = {"beats": size} if mnemonic == "kmac" else {"count": size}
        timing, near_bank = ChannelTiming(MACHINE, refresh=False), MACHINE.near_bank
        assert near_bank is not None
        timing.begin_log(1000)
        run(timing, [op(mnemonic, ch=1, bits=4, **names)])
        replay = CommandTiming(near_bank)
        log = [
            (cycle - (repeat - 1 - each) * period, COMMANDS[name], bank, row)
            for cycle, name, bank, row, repeat, period, _ in timing.end_log().tolist()
            for each in range(repeat)
        ]
        assert [name for _, name, _, _ in log].count(command) == size
        for cycle, name, bank, row in log[:-1]:
            replay.issue(0, name, cycle, bank // 4, bank % 4, row)
        cycle, name, bank, row = log[-1]
        with pytest.raises(ValueError, match=f"at cycle {cycle - 1} is illegal before cycle {cycle}"):
            replay.issue(0, name, cycle - 1, bank // 4, bank % 4, row)
        replay.issue(0, name, cycle, bank // 4, bank % 4, row)
