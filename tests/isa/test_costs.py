from __future__ import annotations

import pytest

import isa


@pytest.mark.parametrize(("columns", "cycles"), [(64, 226), (4, 106), (1, 100)])
def test_a_row_costs_98_cycles_and_2_a_column(machine: isa.Machine, columns: int, cycles: int) -> None:
    assert isa.row_overhead_cycles(machine) == 98
    assert isa.row_sweep_cycles(machine, columns) == cycles


@pytest.mark.parametrize(
    ("mnemonic", "function", "rows", "length", "cycles"),
    [
        ("vadd", "copy", 1, 1, 22),
        ("vadd", "copy", 1, 512, 22),
        ("vadd", "copy", 2, 257, 24),
        ("vdiv", "copy", 1, 512, 24),
        ("vmap", "exp", 1, 1024, 28),
        ("vmap", "relu", 1, 1024, 24),
        ("rsum", "copy", 32, 4096, 20 + 2 * 256),
    ],
)
def test_vector_cycles(machine: isa.Machine, mnemonic: str, function: str, rows: int, length: int, cycles: int) -> None:
    assert isa.vector_cycles(machine, mnemonic, function, rows, length) == cycles


def test_a_visit_to_register_mode(machine: isa.Machine) -> None:
    assert isa.register_visit_cycles(machine, 9, 8, 8) == 2 * 32 + 2 * (9 + 8 + 2 * 8) + 26


def test_a_machine_without_banks_has_no_rows(tmp_path: object) -> None:
    bare = isa.load_machine("gddr6-aim").model_copy(update={"near_bank": None})
    with pytest.raises(isa.MachineError, match=r"has no near-bank units \(extension B\)"):
        isa.row_sweep_cycles(bare, 1)
