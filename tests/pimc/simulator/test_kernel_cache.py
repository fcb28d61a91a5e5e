"""The folder of compiled kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_MODULE = Path(__file__).parents[3] / "pimc" / "simulator" / "kernel_cache.py"
_PRINT = (
    "import runpy, numba; "
    f"folder = runpy.run_path({str(_MODULE)!r})['KERNEL_FOLDER']; print(folder, numba.config.CACHE_DIR)"
)


def _folders(**environment: str) -> list[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", _PRINT], env={**inherited, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_folder_lies_in_the_users_cache_and_is_private(tmp_path: Path) -> None:
    mine, numbas = _folders(XDG_CACHE_HOME=str(tmp_path))
    assert mine == numbas
    assert Path(mine).parent == tmp_path / "pimc" / "kernels"
    assert Path(mine).stat().st_mode & 0o077 == 0


def test_old_folders_are_removed(tmp_path: Path) -> None:
    base = tmp_path / "pimc" / "kernels"
    for age in range(5):
        (base / f"old{age}").mkdir(parents=True)
        os.utime(base / f"old{age}", (age, age))
    mine, _ = _folders(XDG_CACHE_HOME=str(tmp_path))
    assert {path.name for path in base.iterdir()} == {"old3", "old4", Path(mine).name}


def test_folders_that_other_processes_may_use_stay(tmp_path: Path) -> None:
    base = tmp_path / "pimc" / "kernels"
    for age in range(5):
        (base / f"used{age}").mkdir(parents=True)
    mine, _ = _folders(XDG_CACHE_HOME=str(tmp_path))
    assert {path.name for path in base.iterdir()} == {*(f"used{age}" for age in range(5)), Path(mine).name}


def test_a_folder_that_the_user_chose_stays(tmp_path: Path) -> None:
    assert _folders(NUMBA_CACHE_DIR=str(tmp_path)) == ["None", str(tmp_path)]
