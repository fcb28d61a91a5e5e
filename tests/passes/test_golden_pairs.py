"""A graph before and after each pass, as text that a person can read: `tests/golden/passes/PASS.txt`.

After a change on purpose, `python tests/passes/test_golden_pairs.py` (from the root, which must be on the path) writes
the second halves anew; review them before they are committed.
"""

from pathlib import Path

import pytest

from passes import PASSES, PassManager, parse_graph, parse_pipeline, print_graph

FOLDER = Path(__file__).parent.parent / "golden" / "passes"
SEPARATOR = "---\n"
OPTIONS = {"kv_compression": "{policies=window:sink=2 + kivi}", "decompose_attention": "{choose=all}"}
PAIRS = sorted(FOLDER.glob("*.txt"))


def rewritten(path: Path) -> tuple[str, str, str]:
    """(text before, expected text after, text after) of a golden file."""
    before, expected = path.read_text(encoding="utf-8").split(SEPARATOR)
    graph = parse_graph(before, file=path.name)
    PassManager(parse_pipeline(path.stem + OPTIONS.get(path.stem, "")), check_claims=True).run(graph)
    return before, expected, print_graph(graph)


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_pair(path: Path) -> None:
    before, expected, after = rewritten(path)
    assert after == expected
    assert before != after


def test_every_rewriting_pass_has_a_pair() -> None:
    only_facts = {"assign_storage"}
    tested_elsewhere = {"merge_rotary"}
    assert {path.stem for path in PAIRS} == set(PASSES) - only_facts - tested_elsewhere


if __name__ == "__main__":
    for pair in PAIRS:
        first, _, second = rewritten(pair)
        pair.write_text(first + SEPARATOR + second, encoding="utf-8")
