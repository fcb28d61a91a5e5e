"""What the host relies on is checked when a program is saved, loaded, assembled or verified."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import isa
from isa.structure import structure_errors

ROW = {"kind": "tokens", "words": 3, "words_per_token": 16}
SPILLED = {"kind": "token_rows", "words": 5, "columns": 1}
CACHE = {
    "kind": "key",
    "kv_heads": 2,
    "head_dim": 20,
    "groups": 2,
    "channels_per_group": 4,
    "banks": 16,
    "row_columns": 64,
    "max_tokens": 5000,
    "sequences": 1,
}


def _program(machine: isa.Machine) -> isa.Program:
    return isa.Program(
        machine=machine.name,
        machine_sha256=machine.sha256,
        numerics="machine",
        code=(isa.instruction("halt"),),
        entries={"decode": isa.Entry("decode", 0, ())},
        regions=(isa.Region("banks", "bank", 0, 220, "cache"),),
        symbols=(
            isa.Symbol("rows", "sb", 0, 64, ROW),
            isa.Symbol("mask", "sb", 64, 40, {"kind": "keys", "strides": [40, 1], "keys": "past + seq", "default": 1}),
            isa.Symbol("whole", "sb", 104, 6, {"kind": "whole", "strides": [3, 1]}),
            isa.Symbol("spilled", "bank", 0, 1, SPILLED),
            isa.Symbol("cache", "bank", 10, 192, CACHE),
        ),
        ports=(
            isa.Port("rows", "input", "float32", (1, "seq", 3), "tokens", "rows"),
            isa.Port("mask", "input", "int64", (1, "total"), "keys", "mask"),
            isa.Port("whole", "input", "float32", (2, 3), "whole", "whole"),
            isa.Port("spilled", "output", "float32", (1, "seq", 5), "token_rows", "spilled"),
            isa.Port("cache", "output", "float32", (1, 2, "past + seq", 20), "present", "cache"),
        ),
        metadata={"max_context": 40, "chunk": 4, "table_rows": {"rows": 9}},
    )


def _with(program: isa.Program, name: str, layout: dict[str, Any] | None = None, **port: Any) -> isa.Program:
    """The program with members of the layout, or fields of the port, of one name changed."""
    symbols = tuple(
        replace(each, layout={**each.layout, **(layout or {})}) if each.name == name else each
        for each in program.symbols
    )
    ports = tuple(replace(each, **port) if each.name == name else each for each in program.ports)
    return replace(program, symbols=symbols, ports=ports)


def test_good_layouts_pass(machine: isa.Machine) -> None:
    assert isa.check_program(_program(machine), machine) == []


@pytest.mark.parametrize(
    ("name", "layout", "message"),
    [
        ("rows", {"words": 0}, "port 'rows': 'words' in the layout of symbol 'rows' is not a positive integer"),
        ("rows", {"words": True}, "port 'rows': 'words' in the layout of symbol 'rows' is not a positive integer"),
        ("rows", {"words_per_token": "x"}, "port 'rows': 'words_per_token' in the layout of symbol 'rows' is not a"),
        ("rows", {"words_per_token": 2}, "port 'rows': the layout of symbol 'rows' has 3 words in 2 words for each"),
        ("rows", {"words_per_token": 17}, "port 'rows': the layout of symbol 'rows' needs a size of 68, it has 64"),
        ("rows", {"words": 4}, "port 'rows': the shape [1, 'seq', 3] does not have 4 elements for each token"),
        ("rows", {"default": "first"}, "port 'rows': 'default' in the layout of symbol 'rows' is neither a number of"),
        ("rows", {"default": 1 << 31}, "port 'rows': 'default' in the layout of symbol 'rows' is neither a number of"),
        ("rows", {"sequences": 0}, "port 'rows': 'sequences' in the layout of symbol 'rows' is not a positive integer"),
        ("mask", {"strides": [1]}, "port 'mask': the layout of symbol 'mask' needs a stride for each of 2 axes"),
        ("mask", {"strides": [40, -1]}, "port 'mask': the layout of symbol 'mask' needs a stride for each of 2 axes"),
        ("mask", {"keys": 40}, "port 'mask': 'keys' in the layout of symbol 'mask' is not a text"),
        ("mask", {"default": "all"}, "port 'mask': 'default' in the layout of symbol 'mask' is neither a number of"),
        ("whole", {"strides": 3}, "port 'whole': the layout of symbol 'whole' needs a stride for each of 2 axes"),
        ("whole", {"strides": [4, 1]}, "port 'whole': its last element lies at word 6, symbol 'whole' has 6 words"),
        ("spilled", {"columns": 0}, "port 'spilled': 'columns' in the layout of symbol 'spilled' is not a positive"),
        ("spilled", {"columns": 2}, "port 'spilled': the layout of symbol 'spilled' needs a size of 2, it has 1"),
        ("cache", {"kind": "keys"}, "port 'cache': the layout of symbol 'cache' is not that of a cache"),
        ("cache", {"more": 1}, "symbol 'cache': the layout of a cache has the members kind, kv_heads, head_dim, gro"),
        ("cache", {"groups": 0}, "symbol 'cache': 'groups' in its layout is not an integer from 1 to 2147483647"),
        ("cache", {"banks": 16.0}, "symbol 'cache': 'banks' in its layout is not an integer from 1 to 2147483647"),
        ("cache", {"kv_heads": 3}, "symbol 'cache': 3 key/value heads do not fall into 2 groups"),
        ("cache", {"head_dim": 2000}, "symbol 'cache': a head of 2000 elements does not fit 64 columns of a row"),
        ("cache", {"max_tokens": 9000}, "symbol 'cache': its layout takes 320 columns, it has 192"),
        ("cache", {"sequences": 0}, "symbol 'cache': 'sequences' in its layout is not an integer from 1 to 2147483647"),
        ("cache", {"sequences": 2}, "symbol 'cache': its layout takes 384 columns, it has 192"),
        ("cache", {"head_dim": 21}, "port 'cache': the shape [1, 2, 'past + seq', 20] does not have 42 elements for"),
    ],
)
def test_layouts_that_the_host_cannot_use_are_named(
    machine: isa.Machine, name: str, layout: dict[str, Any], message: str
) -> None:
    found = structure_errors(_with(_program(machine), name, layout))
    assert len(found) == 1
    assert found[0].startswith(message)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("rows", {"dtype": "object"}, "port 'rows': dtype 'object' is not one of bfloat16, bool, float16, float32,"),
        ("rows", {"shape": (1, "seq", -3)}, "port 'rows': the sizes of its shape are integers from 0 to 2147483647"),
        ("rows", {"shape": ("batch", "seq", 3)}, "port 'rows': the shape ['batch', 'seq', 3] does not have 3 elements"),
        ("rows", {"symbol": "spilled"}, "port 'rows': a port of kind 'tokens' lies in space sb, not bank"),
        ("whole", {"shape": (2,)}, "port 'whole': the layout of symbol 'whole' needs a stride for each of 1 axes"),
        ("whole", {"shape": (3, 3)}, "port 'whole': its last element lies at word 8, symbol 'whole' has 6 words"),
    ],
)
def test_ports_that_the_host_cannot_use_are_named(
    machine: isa.Machine, name: str, change: dict[str, Any], message: str
) -> None:
    found = structure_errors(_with(_program(machine), name, **change))
    assert found[0].startswith(message)


@pytest.mark.parametrize(
    ("key", "value"),
    [("max_context", "40"), ("max_context", 0), ("chunk", 4.0), ("chunk", None), ("table_rows", 3)],
)
def test_metadata_that_the_host_reads_are_numbers(machine: isa.Machine, key: str, value: Any) -> None:
    program = _program(machine)
    found = structure_errors(replace(program, metadata={**program.metadata, key: value}))
    assert [f"metadata '{key}' is not an" in each for each in found] == [True]


def test_layouts_must_fit_the_banks_of_the_machine(machine: isa.Machine) -> None:
    program = _program(machine)
    wide = _with(program, "cache", {"channels_per_group": 17})
    assert isa.section_errors(wide, machine) == ["the layout of symbol 'cache' needs more than 32 channels"]
    narrow = _with(program, "cache", {"banks": 20, "channels_per_group": 16})
    assert isa.section_errors(narrow, machine) == [
        "the layout of symbol 'cache' is for 20 banks and rows of 64 columns"
    ]
    long = _with(program, "spilled", {"words": 257}, shape=(1, "seq", 257))
    assert isa.section_errors(long, machine) == ["symbol 'spilled' has no room for 4 rows of 257 words"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, None),
        ({"head_dim": 0}, "the layout of symbol 'cache' needs kv_heads, head_dim, max_tokens, sequences, head_columns"),
        ({"sequences": 2}, "the layout of symbol 'cache' needs kv_heads"),
        ({"head_columns": 39}, "the layout of symbol 'cache' takes more columns than it has: 256"),
        ({"kv_heads": 3}, "the layout of symbol 'cache' takes more columns than it has: 256"),
        ({"head_dim": 10}, "the shape [1, 2, 'past + seq', 20] does not have 20 elements for each token"),
    ],
)
def test_columns_of_crossbars_hold_the_tokens_of_every_head(
    machine: isa.Machine, changed: dict[str, int], message: str | None
) -> None:
    layout = {"kind": "key_columns", "kv_heads": 2, "head_dim": 20, "max_tokens": 40, "sequences": 1}
    program = _program(machine)
    held = isa.Symbol("cache", "xb", 0, 256, {**layout, "head_columns": 128, **changed})
    symbols = tuple(held if each.name == "cache" else each for each in program.symbols)
    found = structure_errors(replace(program, symbols=symbols))
    assert [message is not None and message in each for each in found] == [True] * (message is not None)
