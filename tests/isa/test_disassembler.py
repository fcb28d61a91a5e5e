from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from program_strategies import programs

import isa


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None, max_examples=150
)
@given(program=programs())
def test_text_assembles_to_the_same_file(program: isa.Program, tmp_path: Path) -> None:
    isa.save_program(program, tmp_path / "a.pim")
    text = isa.disassemble(isa.load_program(tmp_path / "a.pim"))
    isa.save_program(isa.assemble(text), tmp_path / "b.pim")
    assert (tmp_path / "a.pim").read_bytes() == (tmp_path / "b.pim").read_bytes()
