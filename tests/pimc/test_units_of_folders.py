"""Units of encoder-decoder models: entries share arrays and caches, and what finds no room stays in the banks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from isa import Machine, Program, load_machine
from pimc.compiler import compile_model
from pimc.folder_runs import Case, seeded_runs
from pimc.folder_verification import FolderComparison
from pimc.model_folder import load_folder
from pimc.simulator import Session

FOLDERS = Path(__file__).parents[2] / "models" / "corpus" / "encoder-decoders"
E2E = load_machine("e2e-pim")


def arrays_that_pay(groups: int) -> Machine:
    """A machine whose arrays are so fast that everything wants to be there."""
    assert E2E.crossbar is not None
    return E2E.model_copy(update={"crossbar": E2E.crossbar.model_copy(update={"groups": groups, "vector_cycles": 1})})


def compiled(name: str, machine: Machine) -> Program:
    return compile_model(FOLDERS / name, machine, max_context=32, numerics="fp32")


def units(program: Program, entry: str) -> dict[tuple[str, ...], str]:
    """Unit of each block of an entry by its operation and the ONNX nodes that it came from."""
    blocks = program.entry_facts(entry)["blocks"]
    return {(block["operation"], *block["onnx_nodes"]): block["unit"] for block in blocks}


def inside(program: Program, entry: str) -> int:
    return sum(unit == "crossbar" for unit in units(program, entry).values())


@pytest.mark.parametrize("groups", [1024, 30, 6])
@pytest.mark.parametrize("name", ["bart-torchscript", "t5-optimum", "whisper-dynamo"])
def test_folders_with_arrays_equal_onnx_runtime(name: str, groups: int) -> None:
    machine = arrays_that_pay(groups)
    program = compiled(name, machine)
    assert inside(program, "decode")
    comparison = FolderComparison.of(program, Session(program, machine), load_folder(FOLDERS / name))
    comparison.run(seeded_runs(program, Case(9, 3, 2, padding=4), np.random.default_rng(3)))
    assert max(error.max_rel_error for error in comparison.errors.values()) <= 1e-4


def test_the_decoding_step_comes_first() -> None:
    program = compiled("t5-optimum", arrays_that_pay(6))
    assert inside(program, "decode")
    assert not inside(program, "encode")


def test_what_entries_share_takes_groups_once() -> None:
    """The groups that the decoding step takes alone are enough for the prompt, too."""
    both = compiled("t5-optimum", arrays_that_pay(1024))
    attention = [unit for (operation, *_), unit in units(both, "decode").items() if operation == "cached_attention"]
    assert attention == ["crossbar"] * len(attention)
    assert inside(both, "prefill") > inside(both, "decode")
    few = compiled("t5-optimum", arrays_that_pay(12))
    assert inside(few, "prefill") == inside(few, "decode") > 0


@pytest.mark.parametrize("groups", [1024, 30, 12, 6])
def test_a_shared_cache_has_one_unit(groups: int) -> None:
    program = compiled("bart-torchscript", arrays_that_pay(groups))
    chosen = [
        [unit for (operation, *_), unit in units(program, entry).items() if operation == "cached_attention"]
        for entry in ("prefill", "decode")
    ]
    assert chosen[0] == chosen[1]
