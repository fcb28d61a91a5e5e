"""The Python interface."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import pimc
from isa import InputError, MissingPackageError, load_machine, save_program

ROOT = Path(__file__).parent.parent.parent
LLAMA = ROOT / "models" / "corpus" / "llama-dynamo.onnx"


@pytest.fixture(scope="module")
def program() -> pimc.Program:
    return pimc.compile(LLAMA, max_context=48)


def test_names_load_at_their_first_use() -> None:
    source = "import sys, pimc; assert 'numpy' not in sys.modules; pimc.compile; assert 'numpy' in sys.modules"
    subprocess.run([sys.executable, "-c", source], cwd=ROOT, check=True)


def test_all_public_names_exist() -> None:
    assert all(getattr(pimc, name) is not None for name in pimc.__all__)
    assert set(pimc.__all__) <= set(dir(pimc))
    with pytest.raises(AttributeError, match="module 'pimc' has no attribute 'complie'"):
        _ = pimc.complie  # type: ignore[attr-defined]


def test_compile_simulate_verify(program: pimc.Program) -> None:
    run = pimc.simulate(program, {"input_ids": np.arange(5)[None]})
    assert run.outputs["logits"].shape == (1, 5, 32)
    assert run.stats["cycles"] > 0
    assert run.stats["time_s"] == pytest.approx(run.stats["cycles"] * 0.5e-9)
    assert sum(run.stats["energy_by_unit_j"].values()) == pytest.approx(run.stats["energy_j"])
    assert pimc.verify(LLAMA, max_context=48).ok


def test_simulate_reads_files_and_wanted_outputs(program: pimc.Program, tmp_path: Path) -> None:
    save_program(program, tmp_path / "t.pim")
    run = pimc.simulate(tmp_path / "t.pim", {"input_ids": np.arange(5)[None]}, outputs=["logits"])
    assert list(run.outputs) == ["logits"]
    whole = pimc.simulate(program, {"input_ids": np.arange(5)[None]})
    np.testing.assert_array_equal(run.outputs["logits"], whole.outputs["logits"])


def test_models_and_machines_may_be_objects(program: pimc.Program) -> None:
    again = pimc.compile(onnx.load(LLAMA), load_machine("gddr6-aim"), max_context=48)
    assert again.code == program.code


def test_policies_of_the_cache_are_read_and_kept_in_the_program() -> None:
    with pytest.raises(InputError) as refused:
        pimc.compile(LLAMA, kv="int4")
    assert str(refused.value) == ("--kv:1:1: error: there is no policy 'int4'\n  int4\n  ^\nhelp: did you mean 'int'?")
    program = pimc.compile(LLAMA, kv="window : budget = 16 # short", max_context=48)
    assert program.metadata["kv"] == "window:budget=16"


def test_notebooks_show_a_table(program: pimc.Program) -> None:
    html = pimc.simulate(program, {"input_ids": np.arange(5)[None]})._repr_html_()
    assert html.startswith("<table>")
    assert "row-cycled floor" in html


def test_data_frames_need_pandas(program: pimc.Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError, match="to_dataframe needs the package pandas"):
        pimc.simulate(program, {"input_ids": np.arange(5)[None]}).to_dataframe()
