"""Programs with random policies in every layer equal the policies' meaning in numpy."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import pimc

LLAMA = Path(__file__).parents[2] / "models" / "corpus" / "llama-dynamo.onnx"

small = st.integers(1, 20)


@st.composite
def windows(draw: st.DrawFn) -> str:
    sink = draw(st.integers(0, 8))
    return f"window:sink={sink},budget={sink + draw(st.integers(1, 40))}"


@st.composite
def heavy_hitters(draw: st.DrawFn) -> str:
    budget = draw(st.integers(1, 40))
    recent, whose = draw(st.integers(0, budget)), draw(st.sampled_from(["head", "layer"]))
    return f"h2o:budget={budget},recent={recent},interval={draw(small)},per={whose}"


@st.composite
def snapshots(draw: st.DrawFn) -> str:
    window = draw(st.integers(1, 10))
    budget, interval = window + draw(st.integers(2, 30)), window + draw(st.integers(0, 9))
    shape = draw(st.sampled_from(["snapkv", "pyramidkv:beta=2"]))
    separator = "," if ":" in shape else ":"
    rest = f"budget={budget},window={window},interval={interval},kernel={draw(st.sampled_from([1, 3, 7]))}"
    return f"{shape}{separator}{rest}"


@st.composite
def cascades(draw: st.DrawFn) -> str:
    bits, taus = draw(st.tuples(st.integers(2, 8), st.integers(2, 8))), draw(st.sampled_from([0, 0.1, 0.7]))
    levels = draw(st.sampled_from([1, 2, 16]))
    return f"cpq:bits_k={bits[0]},bits_v={bits[1]},tau_k={taus},tau_v={taus},warmup={draw(small)},levels={levels}"


@st.composite
def selections(draw: st.DrawFn) -> str:
    """Of the best keys, alone or of a window; by signs; of the best pages."""
    tile = draw(st.integers(2, 40))
    best = f"topk:k={draw(small)}"
    signs = f"cam:k={draw(small)},tile={tile},tile_top={draw(st.integers(1, tile))},bits={draw(st.integers(1, 8))}"
    page, dense = draw(st.sampled_from([16, 32])), draw(st.integers(0, 1))
    pages = f"quest:page={page},pages={draw(st.integers(1, 4))},dense={dense}"
    window = draw(windows())
    return draw(st.sampled_from([best, signs, pages, f"{window} + {best}", f"{window} + {signs}"]))


policies = st.one_of(
    windows(), heavy_hitters(), small.map("tova:budget={}".format), snapshots(), cascades(), selections()
)


@given(policies, policies, st.integers(24, 100))
@settings(max_examples=5)
def test_random_policies(first: str, second: str, max_context: int) -> None:
    found = pimc.verify(LLAMA, kv=f"{first} ; {second} @ 1", max_context=max_context)
    assert found.ok, found.outputs
