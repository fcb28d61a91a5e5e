from __future__ import annotations

from pathlib import Path

import pytest

import isa


@pytest.fixture(scope="session")
def machine() -> isa.Machine:
    return isa.load_machine("gddr6-aim")


@pytest.fixture
def pim_path(tmp_path: Path) -> Path:
    return tmp_path / "t.pim"
