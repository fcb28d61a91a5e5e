"""Compiled functions: with and without numba's private option for reference counts."""

import os
import subprocess
import sys
from pathlib import Path

from numba.core.cpu import CPUTargetOptions

from pimc.simulator.compiled import uncounted_options

ROOT = Path(__file__).parents[3]
SCRIPT = """
from numba.core.options import DefaultOptions
del DefaultOptions._nrt  # as a version of numba that refuses the option
import numpy as np
from pimc.simulator.compiled import CYCLES, INTEGER, compiled, inlined

@inlined
def _last(values):
    return values[1:][-1]

@compiled(INTEGER, CYCLES)
def total(values):
    return values[:-1].sum() + _last(values)

print(total(np.arange(5)))
"""


def test_this_numba_has_the_option() -> None:
    assert uncounted_options(CPUTargetOptions) == {"_nrt": False}
    assert uncounted_options(None) == {}


def test_kernels_compile_without_the_option(tmp_path: Path) -> None:
    script = tmp_path / "kernels.py"
    script.write_text(SCRIPT)
    variables = {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(script)], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("10\n", 0), done.stderr[-2000:]
