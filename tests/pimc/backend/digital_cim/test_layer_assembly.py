"""The code of a decoder layer from ONNX on a digital CIM core, as text: `tests/golden/digital_cim/NAME.pimasm`.

After a change on purpose, `python tests/pimc/backend/digital_cim/test_layer_assembly.py` (from the root, which must be
on the path) writes the texts anew; review them before they are committed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from small_core import SMALL

from isa import Machine, disassemble, load_machine
from passes import PassManager, pipeline
from pimc.backend import DeclaredCache, Workload, build_cim_layer, cim_layers
from pimc.frontend import import_model, load_model

ROOT = Path(__file__).parents[4]
FOLDER = ROOT / "tests" / "golden" / "digital_cim"
MODEL = ROOT / "models" / "corpus" / "decoders" / "opt-dynamo.onnx"
CACHE = DeclaredCache(0.3, 0.5, 0.4, 4.0, 3.0)
CACHES = {
    "pruned_codes": CACHE,
    "plain": CACHE.without_codes().without_pruning(),
}
"""File names, with what happens to keys and values."""


def core_with_four_heads(folder: Path) -> Machine:
    (folder / "m.yaml").write_text(
        SMALL.replace("engines: {count: 2", "engines: {count: 4").replace("softmax: {count: 2", "softmax: {count: 4")
    )
    return load_machine(str(folder / "m.yaml"))


def assembly(name: str, folder: Path) -> str:
    """What the layer does, without what only tools read."""
    graph = import_model(load_model(MODEL), {})
    PassManager(pipeline("default")).run(graph)
    layer = cim_layers(graph, CACHES[name])[0]
    program = build_cim_layer(layer, core_with_four_heads(folder), Workload(5, 4))
    kept = (".register", ".region", ".symbol", ".entry")
    lines = [
        line
        for line in disassemble(program).splitlines()
        if line and (line.lstrip().startswith(kept) or not line.lstrip().startswith("."))
    ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", CACHES)
def test_code_is_what_was_reviewed(name: str, tmp_path: Path) -> None:
    assert assembly(name, tmp_path) == (FOLDER / f"{name}.pimasm").read_text(encoding="utf-8")


def test_every_text_is_that_of_a_cache() -> None:
    assert {path.stem for path in FOLDER.glob("*.pimasm")} == set(CACHES)


if __name__ == "__main__":
    import tempfile

    for each in CACHES:
        with tempfile.TemporaryDirectory() as made:
            (FOLDER / f"{each}.pimasm").write_text(assembly(each, Path(made)), encoding="utf-8")
