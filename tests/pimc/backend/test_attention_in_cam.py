"""Attention of models with banks whose keys lie in the CAM: equal to the policy's meaning, and to other programs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from attention_machine import CachedAttention
from fused_graphs import FusedDecoder
from numpy.typing import NDArray

from isa import Machine, Program, ResourceLimitError, UnsupportedError, check_program, disassemble, load_machine
from passes import BinaryKeys, Caches, Compression, Graph, PlaceWeights, UnitChoice, interpret
from pimc.backend import ProgramOptions, build_cam_program, build_program
from pimc.simulator import Session

Array = NDArray[np.float32]
E2E = load_machine("e2e-pim")
GOLDEN = Path(__file__).parents[2] / "golden" / "cam" / "attention_beside_banks.pimasm"
PUBLISHED = BinaryKeys(32, 16, 2, 6)


def with_cam(**sizes: int) -> Machine:
    assert E2E.cam is not None
    return E2E.model_copy(update={"cam": E2E.cam.model_copy(update=sizes)})


def search(graph: Graph, selection: BinaryKeys, unit: str = "cam") -> Graph:
    """Let all attention search its keys by signs, on a unit."""
    for cache in list(graph.caches.values()):
        graph.caches[cache.name] = replace(cache, compression=Compression(selection=selection))
    names = [node.name for node in graph.nodes if node.op == "cached_attention"]
    graph.facts["choose_units"] = UnitChoice(dict.fromkeys(names, unit), dict.fromkeys(names, ""))
    return graph


def built(graph: Graph, machine: Machine, context: int, numerics: str = "fp32") -> Program:
    PlaceWeights(machine).run(graph)
    program = build_program(graph, machine, ProgramOptions(context, 8, numerics, {"table_rows": {}}))
    assert check_program(program, machine) == []
    return program


def tokens_of(form: CachedAttention, tokens: int, seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    named = zip(("query", "key", "value"), form.widths, strict=True)
    return {name: random.standard_normal((1, tokens, width), np.float32) for name, width in named}


MERGING = {"first_merge_tiles": 2, "merge_tiles": 1, "kept": 6, "candidates": 8}
"""Contexts above 32 tokens are merged."""


@pytest.mark.parametrize(
    ("selection", "sizes"), [(PUBLISHED, {}), (BinaryKeys(5, 16, 2, 4), MERGING), (BinaryKeys(6, 16, 1, 6), MERGING)]
)
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_a_decoder_goes_on_from_run_to_run(selection: BinaryKeys, sizes: dict[str, int], kv_heads: int) -> None:
    """Prompts in pieces, single tokens, a reset; heads that share keys; with and without merges."""
    graph = search(FusedDecoder(key_mask=True, head_dim=16, heads=4, kv_heads=kv_heads, context=80).build(), selection)
    session, caches = Session(built(graph, with_cam(**sizes), 80), with_cam(**sizes)), Caches()
    assert {"csearch", "cmac"} <= {each.mnemonic for each in session.program.code}
    random = np.random.default_rng(kv_heads)
    for counts in ((11, 1, 1, 30, 1, 21), (40, 1)):
        length = 0
        for count in counts:
            feeds = {"input_ids": random.integers(0, 300, (1, count))}
            feeds |= {"position_ids": np.arange(length, length + count)[None]}
            feeds |= {"attention_mask": np.ones((1, length + count), np.int64)}
            expected = interpret(graph, feeds, caches=caches)["logits"]
            found = session.run(feeds)["logits"]
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
            length += count
        session.reset()
        caches.clear()


@pytest.mark.parametrize("numerics", ["fp32", "machine"])
@pytest.mark.parametrize("form", [CachedAttention(4, 2, 32, 32), CachedAttention(3, 3, 16, 8)])
def test_it_equals_the_program_of_a_machine_without_banks_bit_for_bit(form: CachedAttention, numerics: str) -> None:
    """That one is held to the published algorithm; a run of several tokens takes them one by one."""
    graph, camformer = search(form.graph(), PUBLISHED), load_machine("cam-camformer")
    alone = Session(build_cam_program(graph, camformer, ProgramOptions(700, 16, numerics, {"table_rows": {}})))
    beside = Session(built(graph, E2E, 700, numerics), E2E)
    for tokens, seed in ((540, 0), (1, 1), (9, 2)):
        inputs = tokens_of(form, tokens, seed)
        expected, found = alone.run(inputs), beside.run(inputs)
        assert np.array_equal(found["result"], expected["result"])
    assert np.array_equal(found["present.key"], expected["present.key"])
    assert np.array_equal(found["present.value"], expected["present.value"])


def test_the_banks_find_the_same_winners_and_add_in_another_order() -> None:
    """Sums there have another order, and the division comes last; of one winner there is nothing to add or divide."""
    form = CachedAttention(4, 2, 32, 32)
    inputs = tokens_of(form, 60, 3)
    for count, most in ((1, 0.0), (32, 1e-6)):
        found = []
        for unit in ("cam", "banks"):
            graph = search(form.graph(), BinaryKeys(count, 16, 2, 6), unit)
            found.append(Session(built(graph, E2E, 64), E2E).run(inputs)["result"])
        assert np.abs(found[0] - found[1]).max() <= most


def test_the_cache_is_signs_and_values_and_moves_less_than_in_the_banks() -> None:
    form = CachedAttention(4, 2, 32, 32)
    inputs, caches = tokens_of(form, 50, 4), []
    for unit in ("cam", "banks"):
        session = Session(built(search(form.graph(), PUBLISHED, unit), E2E, 64, "machine"), E2E)
        session.run(inputs, ["result"])
        session.run(tokens_of(form, 1, 5), ["result"])
        caches.append(session.statistics.cache)
    cam, banks = caches
    assert (cam.bytes, banks.bytes) == (51 * 2 * (32 + 32 * 16) // 8, 51 * 2 * 64 * 16 // 8)
    assert cam.uncompressed_bytes == banks.uncompressed_bytes
    assert cam.bytes_read == 4 * 4 * (16 * 32 // 8 + 2 * 32 * 2) < banks.bytes_read


def test_a_mask_that_excludes_tokens_is_refused() -> None:
    graph = search(FusedDecoder(key_mask=True, head_dim=16, kv_heads=2, context=48).build(), PUBLISHED)
    session = Session(built(graph, E2E, 48), E2E)
    feeds = {"input_ids": np.ones((1, 3), np.int64), "attention_mask": np.array([[0, 1, 1]])}
    with pytest.raises(UnsupportedError, match="the mask excludes tokens"):
        session.run({**feeds, "position_ids": np.arange(3)[None]})


def test_what_does_not_fit_is_refused_with_demand_and_bound() -> None:
    """The second of two layers finds 90 of its 128 rows."""
    graph = search(FusedDecoder(layers=2, head_dim=16, kv_heads=2, context=64).build(), PUBLISHED)
    with pytest.raises(ResourceLimitError, match="a context of 64 tokens does not fit the CAM") as few:
        built(graph, with_cam(keys=218), 64)
    assert few.value.notes == ("demand: 256 keys; bound: 218",)
    assert "--units attention=banks" in str(few.value.help)
    with pytest.raises(UnsupportedError, match="33 winners"):
        built(search(CachedAttention(2, 2, 16, 16).graph(), BinaryKeys(33, 16, 2, 6)), E2E, 64)
    with pytest.raises(UnsupportedError, match="has no CAM"):
        built(search(CachedAttention(2, 2, 16, 16).graph(), PUBLISHED), load_machine("gddr6-aim"), 64)


def assembly() -> str:
    """The code of one layer of 2 heads that share a key head, without what only tools read."""
    program = built(search(CachedAttention(2, 1, 64, 64).graph(), PUBLISHED), E2E, 1024, "machine")
    kept = (".register", ".limit", ".region", ".symbol", ".entry")
    lines = disassemble(program).splitlines()
    return (
        "\n".join(line for line in lines if line and (line.lstrip()[0] != "." or line.lstrip().startswith(kept))) + "\n"
    )


def test_code_is_what_was_reviewed() -> None:
    assert assembly() == GOLDEN.read_text(encoding="utf-8")


if __name__ == "__main__":
    GOLDEN.write_text(assembly(), encoding="utf-8")
