"""The codec beside the other units: cycles of each row, hazards, stalls, and runs without data."""

import numpy as np
import pytest
from machine_programs import ALL, engine, machine

from isa import INSTRUCTIONS, Indexed, Region, codec_cycles
from pimc.simulator.engine.decoding import UNITS

CODEC_ROWS = [row.mnemonic for row in INSTRUCTIONS if row.unit == "codec"]
CODES = Region("codes", "bank", 0, 64, "cache", "code")
SIZES = {"len": 700, "rows": 3, "rd": 1, "count": 3, "bits": 4, "bits2": 3, "split": 300, "steps": 14, "levels": 2}
ONE_PASS_A_ROW = ("klevel", "kappend", "kfetch", "kexpand")


def whole(mnemonic, **sizes):
    """An instruction on separate places, each operand 10,000 words from the next."""
    operands = INSTRUCTIONS[mnemonic].operands
    spaces = [each.name for each in operands if each.kind.value == "sb"]
    named = {name: 10_000 * (place + 1) for place, name in enumerate(spaces)}
    for each in operands:
        if each.name in SIZES:
            named[each.name] = SIZES[each.name]
        elif each.name == "expected":
            named[each.name] = 100
        elif each.name.endswith("row"):
            named[each.name] = 700
        elif each.default is None and each.name not in named:
            named[each.name] = each.choices[0] if each.choices else 0
    if mnemonic in ONE_PASS_A_ROW:
        named["state" if "state" in named else "flags"] = 60_000
    return (mnemonic, named | {name: size for name, size in sizes.items() if name in named})


def cycles_of(*rows, timing_only=True):
    made = engine(*rows, regions=(CODES,))
    made.run(0, timing_only=timing_only)
    return made.cycle


def by_hand(mnemonic, rows, length):
    """startup 20, then 2 cycles for each of up to 512 elements; a selection takes 8 passes over them."""
    groups = rows * -(-length // 512) if mnemonic in ONE_PASS_A_ROW else -(-rows * length // 512)
    return 20 + 2 * (8 if mnemonic == "kselect" else 1) * groups


@pytest.mark.parametrize("mnemonic", CODEC_ROWS)
@pytest.mark.parametrize(("rows", "length"), [(3, 700), (1, 512), (2, 256), (2, 257)])
def test_every_row_takes_a_startup_and_its_passes(mnemonic, rows, length):
    sizes = {"rows": rows, "len": length, "split": min(300, length), "expected": 100}
    assert cycles_of(whole(mnemonic, **sizes)) == by_hand(mnemonic, rows, length)
    assert codec_cycles(machine(), mnemonic, rows, length) == by_hand(mnemonic, rows, length)


@pytest.mark.parametrize("mnemonic", CODEC_ROWS)
def test_data_changes_no_cycle(mnemonic):
    assert cycles_of(whole(mnemonic)) == cycles_of(whole(mnemonic), timing_only=False)


def test_the_codec_works_beside_the_vector_unit_and_one_instruction_at_a_time():
    fill = ("vfill", 500_000, 1.0, 50_000)
    alone = cycles_of(fill), cycles_of(whole("kquant"))
    assert cycles_of(fill, whole("kquant")) <= max(alone) + 1
    assert cycles_of(whole("kquant"), whole("kdequant")) == alone[1] + cycles_of(whole("kdequant"))


@pytest.mark.parametrize("mnemonic", CODEC_ROWS)
def test_hazards_against_the_vector_unit(mnemonic):
    """What the codec writes is waited for by a reader, what it reads by a writer, both by nobody else."""
    row = whole(mnemonic)
    own = by_hand(mnemonic, 3, 700)
    made = engine(row, regions=(CODES,))
    footprint = made._footprint(made.operations[0], made.operations[0].template)
    fill, copy = 22, 22
    made.state.computes = False
    for low, _ in footprint.writes:
        assert cycles_of(row, ("vmap", 900_000, low, "copy", 1)) == own + copy
    for low, high in footprint.reads:
        assert cycles_of(row, ("vfill", high - 1, 1.0, 1)) == own + fill
        assert cycles_of(row, ("vmap", 900_000, low, "copy", 1)) in (own, own + copy)
    assert cycles_of(row, ("vfill", 900_000, 1.0, 1)) == own


@pytest.mark.parametrize("mnemonic", ["kappend", "kfetch"])
def test_a_register_that_the_codec_returns_stalls_its_reader(mnemonic):
    row, own = whole(mnemonic), by_hand(mnemonic, 3, 700)
    assert cycles_of(row, ("add", 2, 3, 1)) == max(own, 3)
    assert cycles_of(row, ("add", 2, 1, 1)) == own + 2
    assert cycles_of(row, ("vfill", Indexed(900_000, 1), 1.0, 1)) == own + 22


def test_the_channels_wait_for_packed_codes():
    pack = ("kpack", {"dst": 0, "a": 10_000, "len": 8, "rows": 512, "bits": 4, "dst_row": 1, "a_row": 8})
    store = {"ch": ALL, "addr": 0, "count": 16, "src": 0, "bits": 4, "sn": 2}
    packed = cycles_of(pack)
    assert cycles_of(pack, ("kstore", store)) == packed + cycles_of(("kstore", store))
    assert cycles_of(pack, ("kstore", store | {"src": 600})) < packed + cycles_of(("kstore", store))


def test_work_is_counted_for_the_codec():
    made = engine(whole("kquant"), ("vfill", 0, 1.0, 64))
    made.run(0, timing_only=True)
    assert made.counters.elements[:2] == [2100, 64]
    assert made.counters.unit_cycles[UNITS.index("codec")] == by_hand("kquant", 3, 700)
    assert (made.counters.words_read[0], made.counters.words_written[0]) == (4200, 2100)


@pytest.mark.parametrize(
    "row", [whole("kquant"), ("kmac", {"ch": ALL, "addr": 0, "beats": 9, "outs": 2, "bstride": 9, "bits": 2})]
)
def test_programs_with_the_codec_run_without_data_on_the_plain_engine(row):
    rows = (("vfill", 0, 1.0, 64), row)
    plain, swept = engine(*rows, regions=(CODES,)), engine(*rows, regions=(CODES,))
    plain.run(0, timing_only=True)
    swept.run_compiled(0)
    assert swept._timing is None
    assert swept.cycle == plain.cycle
    np.testing.assert_array_equal(swept.counters.commands, plain.counters.commands)


@pytest.mark.parametrize(
    ("beat", "beats", "outputs", "stride", "bits", "columns"),
    [
        (0, 8, 1, 0, 4, 2),
        (1, 8, 1, 0, 4, 3),
        (0, 8, 3, 8, 2, 3),
        (3, 4, 2, 4, 8, 6),
        (0, 1, 4, 1, 4, 4),
        (0, 5, 2, 0, 4, 4),
    ],
)
def test_a_column_is_read_once_for_the_beats_of_an_output(beat, beats, outputs, stride, bits, columns):
    row = {"ch": 7, "addr": 2, "beat": beat, "beats": beats, "outs": outputs, "bstride": stride, "bits": bits}
    made = engine(("kmac", row), regions=(CODES,))
    made.run(0, timing_only=True)
    slots = 3 * beats * outputs
    assert made.counters.further_beats[0] == slots - 3 * columns
    assert made.counters.mac_work.executed_columns() == slots
    distinct = {(2 * 16 // bits + beat + o * stride + i) * bits // 16 for o in range(outputs) for i in range(beats)}
    assert made.counters.mac_work.distinct_columns() == 3 * len(distinct)
