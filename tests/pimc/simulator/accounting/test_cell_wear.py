"""Writes of cells in the statistics of a run, on a program whose tokens go to columns of arrays."""

from __future__ import annotations

import pytest

from isa import Entry, Indexed, Machine, Program, Region, RegisterSymbol, Symbol, instruction, load_machine
from pimc.report.run import summary_rows
from pimc.simulator import CellWear, Simulator

MACHINE = load_machine("reram-retransformer")
WIDTH = 6


def _program(machine: Machine) -> Program:
    """Writes `token_count` columns from `kv_length` on of group 0, which holds a cache, and column 0 of group 1."""
    code = (
        instruction("loop", 5, Indexed(0, 1)),
        instruction("add", 6, 5, Indexed(0, 0)),
        instruction("xprog", 0, Indexed(0, 6), 0, WIDTH),
        instruction("end"),
        instruction("xprog", 1, 0, 0, WIDTH),
        instruction("halt"),
    )
    layout = {"kind": "key_columns", "kv_heads": 1, "head_dim": WIDTH, "max_tokens": 8, "sequences": 1}
    return Program(
        machine=machine.name,
        machine_sha256=machine.sha256,
        numerics="machine",
        code=code,
        entries={"decode": Entry("decode", 0, ("kv_length", "token_count"))},
        registers=(RegisterSymbol("kv_length", 0, 0, 7), RegisterSymbol("token_count", 1, 0, 8)),
        regions=(Region("words", "sb", 0, 16, "inputs"), Region("arrays", "xb", 0, 512, "cache")),
        symbols=tuple(Symbol(name, "xb", 0, 512, {**layout, "head_columns": 512}) for name in ("kv.key", "kv.value")),
    )


def _run(simulator: Simulator, first: int, tokens: int, timing_only: bool = False):  # type: ignore[no-untyped-def]
    return simulator.run("decode", {"kv_length": first, "token_count": tokens}, timing_only)


def test_writes_add_up_from_run_to_run_until_a_reset() -> None:
    simulator = Simulator(MACHINE)
    simulator.load(_program(MACHINE))
    first, second = _run(simulator, 0, 3), _run(simulator, 2, 2)
    assert first.wear == CellWear(4, 1, 1e8)
    assert second.wear == CellWear(3, 2, 1e8)
    assert (first + second).wear == CellWear(7, 2, 1e8)
    assert (first + second).to_json()["cells"] == {
        "columns_written": 7,
        "most_writes": 2,
        "endurance_writes": 1e8,
        "lives": 5e7,
    }
    simulator.reset()
    assert _run(simulator, 0, 3).wear == CellWear(4, 1, 1e8)


def test_endurance_is_that_of_the_machine_file() -> None:
    assert MACHINE.crossbar is not None
    weak = MACHINE.model_copy(update={"crossbar": MACHINE.crossbar.model_copy(update={"endurance_writes": 10.0})})
    simulator = Simulator(weak)
    simulator.load(_program(weak))
    for _ in range(4):
        found = _run(simulator, 0, 1)
    assert found.wear is not None
    assert found.wear.lives == pytest.approx(10 / 4)
    rows = dict(summary_rows(found.to_json()))
    assert rows["cells"] == "2 columns written, none more than 4 times; they bear 2 such runs"


def test_without_data_only_the_number_of_writes_is_known() -> None:
    simulator = Simulator(MACHINE)
    simulator.load(_program(MACHINE))
    found = _run(simulator, 0, 3, timing_only=True)
    assert found.wear == CellWear(4, 0, 1e8)
    assert found.wear is not None
    assert found.wear.lives is None
    assert "cells" not in dict(summary_rows(found.to_json()))


def test_the_cache_in_arrays_counts_codes_once_where_keys_are_values() -> None:
    simulator = Simulator(MACHINE)
    simulator.load(_program(MACHINE))
    found = _run(simulator, 0, 3).cache
    assert (found.tokens_kept, found.bytes, found.uncompressed_bytes) == (3, 3 * WIDTH, 3 * WIDTH)
    assert (found.bytes_written, found.bytes_read) == (3 * WIDTH, 0)


def test_machines_without_such_cells_say_nothing() -> None:
    banks = load_machine("gddr6-aim")
    simulator = Simulator(banks)
    program = _program(MACHINE)
    simulator.load(
        Program(
            machine=banks.name,
            machine_sha256=banks.sha256,
            numerics="machine",
            code=program.code[-1:],
            entries={"decode": Entry("decode", 0, ())},
        )
    )
    found = simulator.run("decode")
    assert found.wear is None
    assert "cells" not in found.to_json()
