"""Whole programs: function, time against the channels alone, determinism, timing without data."""

import numpy as np
import pytest
from machine_programs import ALL, bfloat16, bfloat16_bits, code, engine, machine, normal, program

from isa import INSTRUCTIONS, Indexed, Region, RegisterSymbol, Segment
from passes import matrix_layout
from pimc.simulator.dram.channel_timing import ChannelTiming
from pimc.simulator.engine.engine import Engine

INPUTS, OUTPUTS, SPLIT = 576, 960, 4
X, Y = 0, 4096


def layout():
    return matrix_layout(machine().near_bank, INPUTS, OUTPUTS, SPLIT)


def gemv_rows(address=0):
    """y = W x with the inputs split over four groups of channels; partial sums meet in the read path."""
    place = layout()
    width = place.slice_columns
    return (
        ("wrgb", ALL, 0, X, width, place.group_channels, width * 16, 0, 16),
        ("wracc", ALL, 0, place.bank_outputs),
        ("mac", ALL, address, 0, width, place.bank_outputs, 0, width),
        ("rdacc", ALL, 0, place.bank_outputs, Y, place.group_channels, 0, 16, place.group_outputs),
    )


def gemv(numerics="machine"):
    place = layout()
    weight = normal(INPUTS, OUTPUTS, seed=1)
    image = np.zeros((32, 16, place.columns * 16), np.float32)
    place.pack(weight, image)
    data = bfloat16_bits(image) if numerics == "machine" else image
    region = Region("weights", "bank", 0, place.columns, "weights")
    made = engine(*gemv_rows(), regions=(region,), segments=(Segment("weights", data),), numerics=numerics)
    made.state.shared[X : X + INPUTS] = normal(INPUTS, seed=2)
    return made, weight


def test_a_product_in_binary32():
    made, weight = gemv("fp32")
    made.run(0, timing_only=False)
    expected = normal(INPUTS, seed=2).astype(np.float64) @ weight
    np.testing.assert_allclose(made.state.shared[Y : Y + OUTPUTS], expected, rtol=1e-4, atol=1e-4)


def test_a_product_as_the_machine_rounds():
    made, weight = gemv("machine")
    made.run(0, timing_only=False)
    x, w = bfloat16(normal(INPUTS, seed=2)).astype(np.float64), bfloat16(weight).astype(np.float64)
    partial = [x[k : k + INPUTS // SPLIT] @ w[k : k + INPUTS // SPLIT] for k in range(0, INPUTS, INPUTS // SPLIT)]
    expected = sum(bfloat16(each.astype(np.float32)) for each in partial)
    found = made.state.shared[Y : Y + OUTPUTS]
    # A partial sum at the border of two bf16 values may round to either, after sums in another order.
    assert np.mean(found == expected) > 0.99
    np.testing.assert_allclose(found, expected, atol=0.3)


def test_a_product_takes_as_long_as_its_commands():
    made, _ = gemv()
    made.run(0, timing_only=False)
    channels = ChannelTiming(machine(), refresh=False)
    for cycle, row in enumerate(code(*gemv_rows())):
        operands = [operand_code(row, n) for n in range(len(row.values))]
        channels.issue(row.mnemonic, operands, cycle)
    assert made.cycle == channels.finish_cycle
    np.testing.assert_array_equal(made.counters.commands.sum(axis=0), channels.command_counts)


def operand_code(row, number):
    operand, value = row.spec.operands[number], row.values[number]
    return operand.choices.index(value) if operand.choices else value


def test_equal_runs_give_equal_bits_and_cycles():
    first, second = gemv()[0], gemv()[0]
    for made in (first, second):
        made.run(0, timing_only=False)
    assert first.cycle == second.cycle
    np.testing.assert_array_equal(first.state.shared, second.state.shared)


def test_timing_without_data_takes_the_same_cycles_and_touches_no_bank():
    full, bare = gemv()[0], gemv()[0]
    full.run(0, timing_only=False)
    bare.run(0, timing_only=True)
    assert bare.cycle == full.cycle
    assert bare.counters.busy_cycles == full.counters.busy_cycles
    np.testing.assert_array_equal(bare.counters.commands, full.counters.commands)
    assert bare.counters.mac_work == full.counters.mac_work
    assert not bare.state.accumulators.any()


@pytest.mark.parametrize("mnemonic", [row.mnemonic for row in INSTRUCTIONS if row.unit == "vector"])
def test_compiled_timing_of_every_vector_instruction(mnemonic):
    """Two of them in a row, around words that both use, so that a forgotten read or write shows in the cycles."""
    sizes = {"len": 700, "rows": 3, "rd": 1, "ra": 0}
    operands = INSTRUCTIONS[mnemonic].operands
    named = {each.name: sizes.get(each.name, 64) for each in operands if each.default is None or each.name == "rows"}
    named.update({each.name: each.choices[0] for each in operands if each.choices})
    rows = (("vfill", 64, 1.0, 4096), (mnemonic, named), ("rdacc", 1, 0, 1, 64), (mnemonic, named))
    plain, compiled = engine(*rows), engine(*rows)
    plain.run(0, timing_only=True)
    compiled.run_compiled(0)
    assert compiled._timing is not None
    assert compiled.cycle == plain.cycle
    for counter in ("executed", "busy_cycles", "elements", "words_read", "words_written"):
        assert getattr(compiled.counters, counter) == getattr(plain.counters, counter), counter


def test_timing_without_data_reads_scalars_that_the_host_wrote():
    made = engine(("lds", 1, 8), ("loop", 2, Indexed(0, 1)), ("vfill", 16, 1.0, 16), ("end",))
    made.state.shared_integers[8] = 3
    made.run(0, timing_only=True)
    assert made.counters.executed == [1, 1, 3, 3, 1]
    assert not made.state.shared[16:32].any()


def test_one_program_serves_all_lengths():
    made = engine(("loop", 2, Indexed(0, 1)), ("vfill", Indexed(100, 2), 7.0, 1), ("end",))
    for length in (0, 1, 5):
        made.state.shared[:] = 0
        made.state.registers[1] = length
        made.run(0, timing_only=False)
        assert made.state.shared[100:110].tolist() == [7.0] * length + [0.0] * (10 - length)


def test_time_goes_on_from_run_to_run():
    made, _ = gemv()
    made.run(0, timing_only=False)
    first = made.cycle
    made.run(0, timing_only=False)
    second = made.cycle - first
    assert abs(second - first) < 100  # rows are open already, modes differ
    made.restart(ChannelTiming(machine(), refresh=False))
    made.run(0, timing_only=False)
    assert made.cycle == first


def test_operands_with_registers_are_resolved_each_time():
    place = layout()
    region = Region("weights", "bank", 0, 2 * place.columns, "weights")
    rows = (("loop", 1, 2), ("mul", 2, 1, place.columns), *gemv_rows(Indexed(0, 2)), ("end",))
    image = bfloat16_bits(normal(32, 16, 2 * place.columns * 16))
    made = engine(*rows, regions=(region,), segments=(Segment("weights", image),))
    made.state.shared[X : X + INPUTS] = 1.0
    made.run(0, timing_only=False)
    second = engine(*gemv_rows(place.columns), regions=(region,), segments=(Segment("weights", image),))
    second.state.shared[X : X + INPUTS] = 1.0
    second.run(0, timing_only=False)
    np.testing.assert_array_equal(made.state.shared[Y : Y + OUTPUTS], second.state.shared[Y : Y + OUTPUTS])


def test_segments_of_the_buffer_and_reset():
    words = np.array([1.5, 2.5], np.float32).view(np.uint32)
    regions = (Region("constants", "sb", 4, 2, "constants"), Region("cache", "bank", 0, 4, "cache"))
    rows = (("vadd", 4, 4, 4, 2), ("stb", 1, 0, 0, 1, 0))
    made = engine(*rows, regions=regions, segments=(Segment("constants", words),))
    made.run(0, timing_only=False)
    assert made.state.shared[4:6].tolist() == [3.0, 5.0]
    assert made.state.bank_region("cache").data.any()
    made.state.reset()
    assert made.state.shared[4:6].tolist() == [1.5, 2.5]
    assert not made.state.bank_region("cache").data.any()


def test_weights_are_used_in_place_and_initial_caches_are_copied():
    data = bfloat16_bits(normal(32, 16, 16))
    data.setflags(write=False)
    regions = (Region("weights", "bank", 0, 1, "weights"), Region("cache", "bank", 1, 1, "cache"))
    made = engine(regions=regions, segments=(Segment("weights", data), Segment("cache", data)))
    assert np.shares_memory(made.state.bank_region("weights").data, data)
    cache = made.state.bank_region("cache").data
    assert not np.shares_memory(cache, data)
    cache[:] = 0


def test_host_registers_are_plain_registers():
    loaded = program(code(("li", 2, Indexed(1, 9)), ("halt",)), registers=(RegisterSymbol("kv_length", 9, 0, 4),))
    made = Engine(machine(), loaded, ChannelTiming(machine()))
    made.state.registers[9] = 3
    made.run(0, timing_only=False)
    assert made.state.registers[2] == 4


@pytest.mark.parametrize("numerics", ["machine", "fp32"])
def test_columns_of_every_length_are_summed_whole(numerics):
    for columns in range(1, 20):
        region = Region("weights", "bank", 0, columns, "weights")
        image = np.ones((32, 16, columns * 16), np.float32)
        data = bfloat16_bits(image) if numerics == "machine" else image
        made = engine(
            ("mac", ALL, 0, 0, columns), regions=(region,), segments=(Segment("weights", data),), numerics=numerics
        )
        made.state.global_buffer[:] = 1.0
        made.run(0, timing_only=False)
        assert (made.state.accumulators[:, 0] == 16 * columns).all()
