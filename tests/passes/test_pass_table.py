"""docs/passes.md names the passes as they declare themselves.

After a change on purpose, `python tests/passes/test_pass_table.py` (from the root, which must be on the path) writes
the table anew.
"""

from pathlib import Path

from passes import PASSES, Pass

DOCUMENT = Path(__file__).parents[2] / "docs" / "passes.md"
MARK = "<!-- from here on written by tests/passes/test_pass_table.py -->\n"
YES = {True: "yes", False: "no"}


def _row(kind: type[Pass]) -> str:
    return f"| `{kind.name}` | {YES[kind.optional]} | {YES[kind.reassociates]} |"


def table() -> str:
    rows = ["| pass | `-O0` turns it off | may round differently |", "|---|---|---|", *map(_row, PASSES.values())]
    return "\n" + "\n".join(rows) + "\n"


def test_the_document_lists_what_the_passes_declare() -> None:
    assert DOCUMENT.read_text(encoding="utf-8").partition(MARK)[2] == table()


if __name__ == "__main__":
    before, mark, _ = DOCUMENT.read_text(encoding="utf-8").partition(MARK)
    DOCUMENT.write_text(before + mark + table(), encoding="utf-8")
