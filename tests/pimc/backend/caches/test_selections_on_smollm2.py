"""Tokens and pages that queries of SmolLM2's first layers choose, and what windows hold: exactly those of numpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import test_codes_on_smollm2 as codes
from attention_only import Attention, AttentionUnderTest
from numpy.typing import NDArray

from passes import parse_kv
from passes.kv_policies import Layer, resolve
from pimc.simulator.engine import decoding

pytestmark = [pytest.mark.smollm2, pytest.mark.slow, pytest.mark.soak]

Array = NDArray[Any]
TOKENS, HEADS, KV_HEADS, CHANNELS, PAGE = 512, 9, 3, 64, 16
tensors = codes.layers


@dataclass
class Choices:
    """What the program's `kselect` instructions saw and chose, in the order in which they ran.

    Attributes:
        scores: [rows, length] of each.
        chosen: bool [rows, length] of each.
    """

    scores: list[Array] = field(default_factory=list[Array])
    chosen: list[Array] = field(default_factory=list[Array])


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> Choices:
    """Filled by the programs that are loaded from here on."""
    found, kselect = Choices(), decoding.SEMANTICS["kselect"]

    def noting(state: Any, dst: int, a: int, mask: int, count: int, length: int, rows: int, *rest: int) -> None:
        dst_row, a_row = rest[:2]
        found.scores.append(np.stack([state.shared[a + row * a_row :][:length] for row in range(rows)]))
        kselect(state, dst, a, mask, count, length, rows, *rest)
        words = [state.shared_integers[dst + row * dst_row :][:length] for row in range(rows)]
        found.chosen.append(np.stack(words) != 0)

    monkeypatch.setattr(decoding, "SEMANTICS", {**decoding.SEMANTICS, "kselect": noting})
    return found


def loaded(policies: str, numerics: str) -> AttentionUnderTest:
    """A program with one attention of SmolLM2's shape."""
    (compression,) = resolve(parse_kv(policies), [Layer(0, KV_HEADS, CHANNELS, CHANNELS)])
    return AttentionUnderTest(Attention(compression, HEADS, KV_HEADS, CHANNELS, 0, TOKENS, numerics), chunk=256)


def run(policies: str, numerics: str, layer: codes.Tensors) -> None:
    """All tokens, in pieces."""
    test, start = loaded(policies, numerics), 0
    for length in codes.LENGTHS:
        test.session.run({name: array[:, start:length] for name, array in layer.items()}, ["result"])
        start = length


def heads_of(layer: codes.Tensors, token: int) -> tuple[Array, Array]:
    """A query [H, D], and for each head the keys up to it [H, T, D], in binary64."""
    query = layer["query"][0, token].reshape(HEADS, CHANNELS)
    keys = layer["key"][0, : token + 1].reshape(token + 1, KV_HEADS, CHANNELS).transpose(1, 0, 2)
    return query.astype(np.float64), np.repeat(keys.astype(np.float64), HEADS // KV_HEADS, axis=0)


def best(scores: Array, count: int) -> Array:
    """Mask of the largest numbers of each row, of equal ones the first."""
    ranks = np.lexsort((np.broadcast_to(np.arange(scores.shape[1]), scores.shape), -scores), axis=1)
    mask = np.zeros(scores.shape, bool)
    np.put_along_axis(mask, ranks[:, :count], True, axis=1)
    return mask


@pytest.mark.parametrize(("count", "number"), [(64, 0), (100, 3)])
def test_topk_chooses_the_tokens_of_numpy(
    tensors: list[codes.Tensors], choices: Choices, count: int, number: int
) -> None:
    run(f"topk:k={count}", "fp32", tensors[number])
    assert len(choices.chosen) == TOKENS
    for token, chosen in enumerate(choices.chosen):
        query, keys = heads_of(tensors[number], token)
        np.testing.assert_array_equal(chosen, best(np.einsum("hd,htd->ht", query, keys), count))


@pytest.mark.parametrize(("numerics", "number"), [("machine", 1), ("fp32", 2)])
def test_cam_chooses_the_tokens_of_numpy(
    tensors: list[codes.Tensors], choices: Choices, numerics: str, number: int
) -> None:
    """Counts of equal signs are whole numbers, so that rounding changes nothing; what a tile excludes has no weight."""
    count, tile, top, steps = 64, 16, 2, 64
    run(f"cam:k={count},tile={tile},tile_top={top}", numerics, tensors[number])
    assert len(choices.chosen) == TOKENS * (HEADS + 1)
    last = slice(HEADS, None, HEADS + 1)
    for token, (scores, chosen) in enumerate(zip(choices.scores[last], choices.chosen[last], strict=True)):
        query, keys = heads_of(tensors[number], token)
        matches = ((query > 0)[:, None] == (keys > 0)).sum(-1)
        lines = np.minimum(steps - 1, matches * steps // CHANNELS).astype(float)
        for start in range(0, token + 1, tile):
            part = lines[:, start : start + tile]
            part[~best(part, top)] = -np.inf
        np.testing.assert_array_equal(chosen & (scores > -1e29), best(lines, count) & np.isfinite(lines))


@pytest.mark.parametrize(("pages", "number"), [(8, 0), (16, 3)])
def test_quest_hits_the_pages_of_numpy(tensors: list[codes.Tensors], choices: Choices, pages: int, number: int) -> None:
    """The latest page is always among them, and the codec chooses of those before it."""
    run(f"quest:pages={pages},dense=0", "fp32", tensors[number])
    first = pages * PAGE
    assert len(choices.chosen) == TOKENS - first
    for token, chosen in enumerate(choices.chosen, first):
        query, keys = heads_of(tensors[number], token)
        whole = keys[:, : token // PAGE * PAGE].reshape(HEADS, -1, PAGE, CHANNELS)
        sides = [query[:, None] * extreme for extreme in (whole.min(2), whole.max(2))]
        bounds = np.maximum(*sides).sum(-1).reshape(KV_HEADS, HEADS // KV_HEADS, -1).max(1)
        np.testing.assert_array_equal(chosen, best(bounds, pages - 1))


@pytest.mark.parametrize("policies", ["topk:k=64", "quest:pages=8,dense=0"])
def test_with_rounding_the_best_of_the_rounded_scores_are_chosen(
    tensors: list[codes.Tensors], choices: Choices, policies: str
) -> None:
    run(policies, "machine", tensors[2])
    for scores, chosen in zip(choices.scores, choices.chosen, strict=True):
        np.testing.assert_array_equal(chosen, best(scores, 64 if "topk" in policies else 7))
    assert len(choices.chosen) > TOKENS // 2


@pytest.mark.parametrize(("sink", "budget", "numerics", "number"), [(4, 128, "machine", 0), (0, 100, "fp32", 2)])
def test_a_window_keeps_the_tokens_of_numpy(
    tensors: list[codes.Tensors], sink: int, budget: int, numerics: str, number: int
) -> None:
    """All heads' keys and values in the banks are those of the first and the latest tokens, bit for bit."""
    layer, test, start = tensors[number], loaded(f"window:sink={sink},budget={budget}", numerics), 0
    held = np.float32 if numerics == "fp32" else ml_dtypes.bfloat16
    names = ("key", "value")
    columns = {name: layer[name][0].astype(held).astype(np.float32).reshape(TOKENS, KV_HEADS, -1) for name in names}
    for length in codes.LENGTHS:
        step = {name: array[:, start:length] for name, array in layer.items()}
        found = test.session.run(step, [f"present.{name}" for name in names])
        start = length
        kept = {*range(min(sink, length)), *range(max(0, length - (budget - sink)), length)}
        assert test.session.statistics.cache.tokens_kept == len(kept)
        for name in names:
            there = {row.tobytes() for row in found[f"present.{name}"][0].transpose(1, 0, 2)}
            assert there == {columns[name][token].tobytes() for token in kept}
