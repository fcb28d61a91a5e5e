"""A smaller shared buffer: the same results, by more instructions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fused_graphs import FusedDecoder

from isa import (
    Machine,
    Program,
    ResourceLimitError,
    assemble,
    check_program,
    load_machine,
    load_program,
    save_assembly,
    save_program,
)
from passes import PlaceWeights
from pimc.backend import ProgramOptions, build_program
from pimc.simulator import Session

MACHINE = load_machine("gddr6-aim")
ENCODER = FusedDecoder(causal=False, context=160, key_mask=True)
DECODER = FusedDecoder(vocabulary=5000)


def _machine(kibibytes: int) -> Machine:
    buffer = MACHINE.shared_buffer.model_copy(update={"capacity_bytes": kibibytes << 10})
    return MACHINE.model_copy(update={"shared_buffer": buffer})


def _build(decoder: FusedDecoder, machine: Machine, numerics: str) -> Program:
    graph = decoder.build()
    PlaceWeights(machine).run(graph)
    return build_program(graph, machine, ProgramOptions(decoder.context, 16, numerics, {}))


def _run(decoder: FusedDecoder, kibibytes: int, numerics: str) -> tuple[str, np.ndarray, int]:
    machine = _machine(kibibytes)
    program = _build(decoder, machine, numerics)
    session = Session(program, machine)
    logits = session.run({"input_ids": np.arange(40)[None] % decoder.vocabulary}, ["logits"])["logits"]
    return str(program.metadata["spilled"]), logits, session.statistics.cycles


@pytest.mark.parametrize("numerics", ["fp32", "machine"])
@pytest.mark.parametrize(
    ("decoder", "sizes"),
    [
        (ENCODER, {"nothing": 4096, "values": 600, "values and outputs": 200}),
        (DECODER, {"nothing": 4096, "values and outputs": 300}),
    ],
    ids=["encoder", "decoder"],
)
def test_spills_keep_results_and_cost_cycles(decoder: FusedDecoder, sizes: dict[str, int], numerics: str) -> None:
    runs = [_run(replace(decoder), size, numerics) for size in sizes.values()]
    assert [spilled for spilled, _, _ in runs] == list(sizes)
    for _, logits, _ in runs[1:]:
        np.testing.assert_array_equal(logits, runs[0][1])
    cycles = [count for _, _, count in runs]
    assert cycles == sorted(set(cycles))


@pytest.mark.parametrize(("decoder", "kibibytes"), [(ENCODER, 200), (DECODER, 300)], ids=["encoder", "decoder"])
def test_spilled_programs_are_safe_and_survive_both_file_formats(
    tmp_path: Path, decoder: FusedDecoder, kibibytes: int
) -> None:
    machine = _machine(kibibytes)
    program = _build(replace(decoder), machine, "machine")
    assert "token_rows" in {port.kind for port in program.ports}
    assert check_program(program, machine) == []
    first, text, second = tmp_path / "a.pim", tmp_path / "a.pimasm", tmp_path / "b.pim"
    save_program(program, first)
    save_assembly(load_program(first), text, first)
    save_program(assemble(text.read_text(), str(text)), second)
    assert second.read_bytes() == first.read_bytes()


def test_a_buffer_that_is_too_small_says_what_it_needs() -> None:
    with pytest.raises(ResourceLimitError) as caught:
        _run(replace(DECODER), 16, "fp32")
    assert "the shared buffer has no room for" in caught.value.message
    assert [note.split(":")[0] for note in caught.value.notes] == ["demand", "bound"]
    assert caught.value.help is not None
