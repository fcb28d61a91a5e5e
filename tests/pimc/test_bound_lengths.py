"""Decoders with some of their lengths bound: the entries that are left, and what they compute."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from corpus_inputs import random_case
from corpus_manifest import CorpusGraph, load_manifest

from isa import check_program, load_machine
from pimc.compiler import compile_model
from pimc.reference import Reference
from pimc.simulator import Session

MACHINE = load_machine("gddr6-aim")
CONTEXT = 40
GRAPHS = {graph.name: graph for graph in load_manifest()}


def check_bound(graph: CorpusGraph, dims: dict[str, int], entries: set[str], lengths: list[tuple[int, int]]) -> None:
    """One program, proven safe, has these entries and equals ONNX Runtime at (new, past) tokens."""
    program = compile_model(graph.path, MACHINE, {"batch": 1, **dims}, max_context=CONTEXT, numerics="fp32")
    assert set(program.entries) == entries
    assert check_program(program, MACHINE) == []
    reference = Reference(graph.path)
    for seq, past in lengths:
        case = random_case(graph, 1, seq, past, seed=seq + past)
        found = Session(program, MACHINE).run(case.inputs)
        for name, expected in reference.run(case.inputs).items():
            scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
            assert np.abs(found[name] - expected).max(initial=0.0) <= graph.relative_tolerance * scale, (name, past)


@pytest.mark.parametrize(
    "name", ["llama-torchscript", "bloom-torchscript", "falcon-dynamo", "mixtral-torchscript", "gpt2-torchscript-int8"]
)
def test_one_token_at_a_time_is_a_decode(name: str) -> None:
    check_bound(GRAPHS[name], {"seq": 1}, {"decode", "prefill"}, [(1, 0), (1, 7), (1, 33)])


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("gpt2-torchscript", {"decode", "prefill"}),
        ("bloom-dynamo", {"encode"}),
        ("bart-torchscript/decoder_with_past", {"encode"}),
        ("t5-dynamo/decoder_with_past", {"encode"}),
    ],
)
def test_without_a_past_all_tokens_of_a_context_fit(name: str, entries: set[str]) -> None:
    check_bound(GRAPHS[name], {"past": 0}, entries, [(5, 0), (37, 0)])


def test_one_token_after_a_bound_past() -> None:
    check_bound(GRAPHS["llama-torchscript"], {"seq": 1, "past": 7}, {"decode", "prefill"}, [(1, 7)])
