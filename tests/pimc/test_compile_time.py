"""Compiling takes time in proportion to the layers, and a stack that does not grow with them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.compile_time import Figure, document
from benchmarks.function_calls import bert_model, count_calls, is_linear, llama_model
from isa import load_machine
from pimc.compiler import compile_model


@pytest.mark.parametrize("build", [bert_model, llama_model])
def test_calls_grow_linearly(tmp_path: Path, build: Callable[[int], object]) -> None:
    calls = []
    for layers in (4, 8, 16):
        path = tmp_path / f"{layers}.onnx"
        build(layers).save(path)
        calls.append(count_calls(path))
    assert calls[0] < calls[1] < calls[2]
    assert is_linear(calls), calls


def test_the_stack_does_not_grow_with_layers(tmp_path: Path) -> None:
    machine = load_machine("gddr6-aim")
    for layers in (2, 16):
        bert_model(layers).save(tmp_path / f"{layers}.onnx")
    compile_model(tmp_path / "2.onnx", machine, dims={"batch": 1})  # loads all modules
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 120)
    try:
        assert compile_model(tmp_path / "16.onnx", machine, dims={"batch": 1}).code
    finally:
        sys.setrecursionlimit(limit)


def test_squares_are_not_linear() -> None:
    assert is_linear([100 + 10 * layers for layers in (6, 12, 24, 48)])
    assert not is_linear([100 * layers + layers**2 for layers in (6, 12, 24, 48)])


def test_missed_bars_are_said() -> None:
    small = [Figure(layers, 1.0, 10**7, 100, 100 * layers**2) for layers in (6, 12, 24)]
    text = document(small, Figure(24, 21.0, 10**9, 300))
    assert (
        "BERT-large, 24 layers: 21.0 s (bar 20 s), 1.00 GB beyond its weights (bar 1.5 GB), 300 instructions: MISSED."
        in text
    )
    assert "Calls grow linearly in layers (within 5 %): MISSED." in text
