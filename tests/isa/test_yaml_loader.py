from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa import InputError, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("True", "True"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("0", 0),
        ("-12", -12),
        ("010", "010"),
        ("0o10", "0o10"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("1e6", 1e6),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-1.5e-3", -1.5e-3),
        (".inf", ".inf"),
        ("2026-11-22", "2026-11-22"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("=", "="),
        ("[1, 2.0, a]", (1, 2.0, "a")),
    ],
)
def test_scalars_mean_what_they_show(text: str, value: Any) -> None:
    found = parse_yaml(f"key: {text}", "f").data["key"]
    assert found == value
    assert type(found) is type(value)


def test_places_name_the_line_of_every_value() -> None:
    file = parse_yaml("a: 1\nb:\n  c: [5,\n      6]\n", "f.yaml")
    assert file.data == {"a": 1, "b": {"c": (5, 6)}}
    assert {path: line for path, (_, line) in file.places.items()} == {
        (): 1, ("a",): 1, ("b",): 2, ("b", "c"): 3, ("b", "c", 0): 3, ("b", "c", 1): 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1", "f:1:4: error: anchors and aliases are not allowed"),
        ("a: 1\nb: *x", "f:2:4: error: anchors and aliases are not allowed"),
        ("a: !!python/name:os.system x", "f:1:4: error: tags are not allowed"),
        ("a: 1\nb: 2\na: 3", "f:3:1: error: the key 'a' is given twice"),
        ("? [a]\n: 1", "f:1:3: error: a key must be a plain name"),
        ("", "f: error: the file is empty"),
        ("[" * 33 + "]" * 33, "f:1:33: error: nested deeper than 32 levels"),
    ],
)
def test_traps_are_refused_with_their_place(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "f")
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["a: [1", "a: 1\n- b", "a: b: c", "\tx: 1", "--- a\n--- b", "\x00"])
def test_what_is_not_yaml_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not YAML"):
        parse_yaml(text, "f")


@given(st.text(max_size=40))
def test_any_text_is_data_or_an_error(text: str) -> None:
    try:
        file = parse_yaml(text, "f")
    except InputError:
        return
    assert file.places[()] == ("f", file.places[()][1])


def test_files_are_limited(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_text("a: " + "x" * (1 << 20))
    with pytest.raises(InputError, match="larger than 1 MiB"):
        read_yaml(large)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: \xe9")
    with pytest.raises(InputError, match=r"not UTF-8 \(byte 3\)"):
        read_yaml(latin)
    with pytest.raises(InputError, match="cannot read the file: No such file"):
        read_yaml(tmp_path / "missing.yaml")
