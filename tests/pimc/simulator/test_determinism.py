"""Equal cycles and joules in every process, for any hash seed and number of threads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pimc
from isa import load_machine
from pimc.simulator import Session, Simulator, simulate_trace
from pimc.simulator.traces.attacc.frontend import run_attacc_trace
from pimc.simulator.traces.attacc.streams import AttentionShape, attention_trace
from pimc.simulator.traces.hbm_pim.kernel_runs import run_hbm_pim_kernel

machine = load_machine("gddr6-aim")
folder = Path("tests/golden/aim")
cases = [(folder / f"{name}.trace", compat)
         for name in ("rd_sbk_4bg", "gb_bias_mac_rd", "ewmul_64")
         for compat in (True, False)]

def simulated(case):
    return simulate_trace(case[0], machine, case[1]).to_json()

found = [simulated(case) for case in cases]
with ThreadPoolExecutor(4) as pool:
    assert list(pool.map(simulated, cases * 8)) == found * 8
program = pimc.compile("models/corpus/llama-dynamo.onnx", machine, dims=None)
simulator = Simulator(machine)
simulator.load(program)
registers = [{"kv_length": length, "masked": 0} for length in (0, 5, 17)]
found.append([[run.cycles, run.energy_j] for run in simulator.sweep("decode", registers)])
session = Session(program)
session.step([1, 2, 3, 4, 5])
found.append(session.statistics.to_json())
compressed = pimc.compile("models/tiny-shakespeare.onnx", machine, kv="kivi:bits=4,residual=32", max_context=128)
simulator = Simulator(machine)
simulator.load(compressed)
found.append(simulator.run("decode", {"kv_length": 90, "masked": 0}, timing_only=True).to_json())
assert found[-1]["energy_by_unit_j"]["kv_codec"] > 0
attention = attention_trace(load_machine("hbm3-attacc"), AttentionShape(256, heads=20))
found.append(run_attacc_trace(attention, load_machine("hbm3-attacc")).cycles)
found.append(run_hbm_pim_kernel("gemv", [1024, 256], load_machine("hbm2-pim")).cycles)
print(json.dumps(found))
"""


def printed(seed: str, threads: str) -> str:
    variables = {
        "PYTHONHASHSEED": seed,
        "NUMBA_NUM_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "PYTHONPATH": str(ROOT),
    }
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


@pytest.mark.slow
def test_seeds_and_threads_change_nothing() -> None:
    first = printed("0", "1")
    assert len(json.loads(first)) == 11
    assert printed("1", "2") == first
    assert printed("4711", "1") == first
