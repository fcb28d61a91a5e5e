"""A smaller shared buffer: the same results, by more instructions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fused_graphs import FusedDecoder

from isa import Machine, ResourceLimitError, load_machine
from passes import PlaceWeights
from pimc.backend import ProgramOptions, build_program
from pimc.simulator import Session

MACHINE = load_machine("gddr6-aim")
ENCODER = FusedDecoder(causal=False, context=160, key_mask=True)
DECODER = FusedDecoder(vocabulary=5000)


def _machine(kibibytes: int) -> Machine:
    buffer = MACHINE.shared_buffer.model_copy(update={"capacity_bytes": kibibytes << 10})
    return MACHINE.model_copy(update={"shared_buffer": buffer})


def _run(decoder: FusedDecoder, kibibytes: int, numerics: str) -> tuple[str, np.ndarray, int]:
    machine, graph = _machine(kibibytes), decoder.build()
    PlaceWeights(machine).run(graph)
    program = build_program(graph, machine, ProgramOptions(decoder.context, 16, numerics, {}))
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


def test_a_buffer_that_is_too_small_says_what_it_needs() -> None:
    with pytest.raises(ResourceLimitError) as caught:
        _run(replace(DECODER), 16, "fp32")
    assert "the shared buffer has no room for" in caught.value.message
    assert [note.split(":")[0] for note in caught.value.notes] == ["demand", "bound"]
    assert caught.value.help is not None
