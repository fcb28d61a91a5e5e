"""docs/kv-policies.md lists the policies as they describe themselves.

After a change on purpose, `python tests/passes/kv_policies/test_policy_table.py` (from the root, which must be on the
path) writes the table anew.
"""

from pathlib import Path

from passes import POLICIES, Policy, parameters

DOCUMENT = Path(__file__).parents[3] / "docs" / "kv-policies.md"
MARK = "<!-- from here on written by tests/passes/kv_policies/test_policy_table.py -->\n"


def _row(kind: type[Policy]) -> str:
    given = [f"`{each.name}`" if each.default is None else f"`{each.name}={each.default}`" for each in parameters(kind)]
    cells = (f"`{kind.name}`", kind.mechanism, " ".join(given), kind.formula, kind.source)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def table() -> str:
    head = ["| policy | decides | parameters | formula | source |", "|---|---|---|---|---|"]
    return "\n" + "\n".join([*head, *map(_row, POLICIES.values())]) + "\n"


def test_the_document_lists_what_the_policies_declare() -> None:
    assert DOCUMENT.read_text(encoding="utf-8").partition(MARK)[2] == table()


if __name__ == "__main__":
    before, mark, _ = DOCUMENT.read_text(encoding="utf-8").partition(MARK)
    DOCUMENT.write_text(before + mark + table(), encoding="utf-8")
