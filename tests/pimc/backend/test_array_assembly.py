"""The code of one layer's attention in crossbars, as text: `tests/golden/crossbar/NAME.pimasm`.

After a change on purpose, `python tests/pimc/backend/test_array_assembly.py` (from the root, which must be on the path)
writes the texts anew; review them before they are committed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from attention_machine import CachedAttention, machine_with_arrays

from isa import disassemble

FOLDER = Path(__file__).parents[2] / "golden" / "crossbar"
SHAPES = {
    "keys_and_values": (CachedAttention(4, 2, 32, 32), machine_with_arrays(8)),
    "x": (CachedAttention(2, 1, 32, 32, is_shared=True), machine_with_arrays(8)),
    "chain_of_groups": (CachedAttention(1, 1, 32, 32), machine_with_arrays(4)),
    "softmax_by_tables": (CachedAttention(2, 2, 32, 32), machine_with_arrays(8, tables=True)),
}
"""File names, with the attention and the machine; 128 tokens fit the cache."""


def assembly(name: str) -> str:
    """What the layer does, without what only tools read."""
    form, machine = SHAPES[name]
    program = form.program(machine, "machine", context=128)
    kept = (".register", ".limit", ".region", ".symbol", ".entry")
    lines = [
        line
        for line in disassemble(program).splitlines()
        if line and (line.lstrip().startswith(kept) or not line.lstrip().startswith("."))
    ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", SHAPES)
def test_code_is_what_was_reviewed(name: str) -> None:
    assert assembly(name) == (FOLDER / f"{name}.pimasm").read_text(encoding="utf-8")


def test_every_text_is_that_of_a_shape() -> None:
    assert {path.stem for path in FOLDER.glob("*.pimasm")} == set(SHAPES)


if __name__ == "__main__":
    for each in SHAPES:
        (FOLDER / f"{each}.pimasm").write_text(assembly(each), encoding="utf-8")
