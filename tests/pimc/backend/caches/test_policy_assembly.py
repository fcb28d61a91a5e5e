"""The code of one layer's attention under each policy, as text: `tests/golden/kv_policies/POLICY.pimasm`.

After a change on purpose, `python tests/pimc/backend/caches/test_policy_assembly.py` (from the root, which must be on
the path) writes the texts anew; review them before they are committed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from attention_only import MACHINE, Attention

from isa import disassemble
from passes import PlaceWeights, parse_kv
from passes.kv_policies import Layer, resolve
from pimc.backend import ProgramOptions, build_program

FOLDER = Path(__file__).parents[3] / "golden" / "kv_policies"
SHAPE = Attention(None, heads=4, kv_heads=2, head_dim=32, context=256)
POLICIES = {
    "none": "none",
    "int": "int:bits=8",
    "kivi": "kivi:bits=4,residual=64",
    "cpq": "cpq:bits_k=4,bits_v=3,tau_k=0.5,tau_v=0.25",
    "window": "window:sink=4,budget=64",
    "h2o": "h2o:budget=64,interval=4",
    "tova": "tova:budget=64",
    "snapkv": "snapkv:budget=64,window=16",
    "pyramidkv": "pyramidkv:budget=64,window=16",
    "topk": "topk:k=16",
    "quest": "quest:pages=4,dense=0",
    "cam": "cam:k=16",
    "window_kivi": "window:sink=4,budget=128 + kivi:bits=2,residual=32",
}
"""File names, and the policies of the layer."""


def assembly(policies: str) -> str:
    """What the layer does, without what only tools read."""
    (compression,) = resolve(parse_kv(policies), [Layer(0, 1, SHAPE.head_dim, SHAPE.head_dim)])
    graph = Attention(compression, SHAPE.heads, SHAPE.kv_heads, SHAPE.head_dim, context=SHAPE.context).graph()
    PlaceWeights(MACHINE).run(graph)
    program = build_program(graph, MACHINE, ProgramOptions(SHAPE.context, 16, "machine", {}))
    kept = (".register", ".limit", ".region", ".symbol", ".entry")
    lines = [
        line for line in disassemble(program).splitlines() if not _is_directive(line) or line.lstrip().startswith(kept)
    ]
    return f"; {policies}\n" + "\n".join(line for line in lines if line) + "\n"


def _is_directive(line: str) -> bool:
    return line.lstrip().startswith(".")


@pytest.mark.parametrize("name", POLICIES)
def test_code_is_what_was_reviewed(name: str) -> None:
    assert assembly(POLICIES[name]) == (FOLDER / f"{name}.pimasm").read_text(encoding="utf-8")


def test_every_text_is_that_of_a_policy() -> None:
    assert {path.stem for path in FOLDER.glob("*.pimasm")} == set(POLICIES)


if __name__ == "__main__":
    for each, text in POLICIES.items():
        (FOLDER / f"{each}.pimasm").write_text(assembly(text), encoding="utf-8")
