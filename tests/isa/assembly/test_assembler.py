from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isa

HEAD = f'.machine "gddr6-aim", sha256="{"0" * 64}", channels=32\n'


def _errors(text: str) -> str:
    with pytest.raises(isa.AssemblyError) as caught:
        isa.assemble(text, "a.pimasm")
    return str(caught.value)


def _code(*lines: str) -> tuple[isa.Instruction, ...]:
    return isa.assemble(HEAD + ".symbols\n.symbol w, bank, address=64, size=9\n.text\n" + "\n".join(lines)).code


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("add r3, r3, 12", ("add", 3, 3, 12)),
        ("add rd=r3, ra=r4, b=r5", ("add", 3, 4, isa.Indexed(0, 5))),
        ("li r2, 0x10+r3-1", ("li", 2, isa.Indexed(15, 3))),
        ("li r2, -5", ("li", 2, -5)),
        ("  loop r1,30 ; thirty times", ("loop", 1, 30)),
        ("open all, [w+2-1+r3]", ("open", 0xFFFFFFFF, isa.Indexed(65, 3))),
        ("open ch=3, addr=7", ("open", 8, 7)),
        ("open ch=0-1,4, addr=7", ("open", 0b10011, 7)),
        ("open ch=0x11, addr=[w]", ("open", 0x11, 64)),
        ("vfill [0], 2, 1", ("vfill", 0, 2.0, 1)),
        ("vfill dst=[0], value=-1e-3, len=1", ("vfill", 0, float(np.float32(-1e-3)), 1)),
        ("vfill dst=[0], value=inf, len=1", ("vfill", 0, float("inf"), 1)),
    ],
)
def test_operands_can_be_written_in_many_ways(line: str, expected: tuple[object, ...]) -> None:
    (built,) = _code(line)
    assert built == isa.instruction(*expected)  # type: ignore[arg-type]


def test_labels_may_stand_before_or_on_their_line() -> None:
    code = _code("skipz r1, here", "skipz r1, there", "here: halt", "there:", "halt")
    assert [built["target"] for built in code[:2]] == [2, 3]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "wrbg ch=all, src=[0], cols=1",
            """\
a.pimasm:3:3: error: unknown instruction 'wrbg'
    wrbg ch=all, src=[0], cols=1
    ^
help: did you mean 'wrgb'?""",
        ),
        (
            "mac ch=all, addr=[0], colz=1",
            """\
a.pimasm:3:25: error: mac has no operand 'colz'
    mac ch=all, addr=[0], colz=1
                          ^
help: did you mean 'cols'?""",
        ),
        (
            "mac ch=all, addr=[0] ; no columns",
            """\
a.pimasm:3:23: error: operand 'cols' of mac is missing
    mac ch=all, addr=[0] ; no columns
                        ^
help: it is the number of columns""",
        ),
        (
            "mac ch=all addr=[0]",
            """\
a.pimasm:3:14: error: unexpected 'addr', expected end of line, '+' or ','
    mac ch=all addr=[0]
               ^""",
        ),
        (
            "add r3, r32, 1",
            """\
a.pimasm:3:11: error: expected a register r0 to r31, found 'r32'
    add r3, r32, 1
            ^""",
        ),
        (
            "add r3, r1",
            """\
a.pimasm:3:13: error: operand 'b' of add is missing
    add r3, r1
              ^
help: it is the second operand""",
        ),
        (
            "li r1, 3, 4",
            """\
a.pimasm:3:13: error: li takes 2 operands
    li r1, 3, 4
              ^
help: operands of li: rd, b""",
        ),
        (
            "vmap dst=[0], a=[0], fn=gelo, len=1",
            """\
a.pimasm:3:27: error: 'gelo' is no fn; expected one of copy, exp, log, sqrt, rsqrt, reciprocal, tanh, sigmoid, erf, \
sin, cos, abs, relu, floor, ceil, silu, gelu, gelu_tanh, from_int, to_int, round, sign, float16, bfloat16
    vmap dst=[0], a=[0], fn=gelo, len=1
                            ^
help: did you mean 'gelu'?""",
        ),
        (
            "open ch=all, addr=[0+r1+r2]",
            """\
a.pimasm:3:27: error: operand 'addr' takes one register, with a plus sign
    open ch=all, addr=[0+r1+r2]
                            ^""",
        ),
        (
            "open ch=all, addr=[v]",
            """\
a.pimasm:3:22: error: unknown symbol 'v'
    open ch=all, addr=[v]
                       ^""",
        ),
        (
            "vfill dst=[x], len=1, dst=[0]",
            """\
a.pimasm:3:25: error: operand 'dst' is given twice
    vfill dst=[x], len=1, dst=[0]
                          ^
a.pimasm:3:14: error: unknown symbol 'x'
    vfill dst=[x], len=1, dst=[0]
               ^""",
        ),
        (
            "vfill dst=[16777216], len=1",
            """\
a.pimasm:3:13: error: 16777216 does not fit operand 'dst': 0 to 16777215
    vfill dst=[16777216], len=1
              ^""",
        ),
        (
            "vfill dst=[0], value=1e39, len=1",
            """\
a.pimasm:3:24: error: 1e39 is outside the range of binary32
    vfill dst=[0], value=1e39, len=1
                         ^""",
        ),
        (
            "skipz r1, dune",
            """\
a.pimasm:3:13: error: unknown label 'dune'
    skipz r1, dune
              ^
help: did you mean 'done'?""",
        ),
        (
            "open ch=3-1, addr=[0]",
            """\
a.pimasm:3:11: error: '3-1' is no range of channels 0 to 31
    open ch=3-1, addr=[0]
            ^""",
        ),
        (
            "open ch=one, addr=[0]",
            """\
a.pimasm:3:11: error: 'one' names no channels: expected all, 0-9,12, 0x3ff or a register
    open ch=one, addr=[0]
            ^""",
        ),
        (
            "vfill dst=[0], len=[1]",
            """\
a.pimasm:3:22: error: operand 'len' is no address; write it without brackets
    vfill dst=[0], len=[1]
                       ^""",
        ),
        (
            ".lok 1",
            """\
a.pimasm:3:3: error: unknown directive '.lok'
    .lok 1
    ^
help: did you mean '.loc'?""",
        ),
        (
            ".loc 0",
            """\
a.pimasm:3:8: error: there are 0 sources, counted from 0; found '0'
    .loc 0
         ^""",
        ),
        (
            ".entry",
            """\
a.pimasm:3:9: error: expected the name of an entry
    .entry
          ^""",
        ),
        (
            ".region w, bank, address=0, size=1, role=weights",
            """\
a.pimasm:3:3: error: '.region' belongs into section .symbols
    .region w, bank, address=0, size=1, role=weights
    ^""",
        ),
        (
            "add r1, r1, #",
            """\
a.pimasm:3:15: error: unexpected '#', expected a name, a register, a number, '+' or '['
    add r1, r1, #
                ^""",
        ),
    ],
)
def test_an_error_shows_the_place_and_the_way_out(line: str, message: str) -> None:
    assert _errors(f"{HEAD}.text\n  {line}\ndone:\n") == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (".region w, bonk, address=0, size=1, role=weights", "3:12: error: 'bonk' is not one of sb, bank"),
        (".region w, bank, address=0, size=x, role=weights", "3:34: error: 'size=' is an integer, found 'x'"),
        (".region w, bank, address=0, role=weights", "3:41: error: argument 'size=' is missing"),
        (".region w, bank, address=0, size=1, role=weight", "3:42: error: 'weight' is not one of weights, cache,"),
        (".region w, bank, address=0, size=1, role=weights, roll=1", "3:56: error: unexpected argument 'roll=1'"),
        (".region r1, bank, address=0, size=1, role=weights", "3:9: error: expected the name of a region, found 'r1'"),
        (".register k, r40, low=0, high=1", "3:14: error: expected a register r0 to r31, found 'r40'"),
        (".register k, r4, low=0, low=1", "3:29: error: argument 'low' is given twice"),
        (".symbol k, sb, address=0, size=1, layout=[]", "3:1: error: 'layout=' is a JSON object"),
        ('.symbol k, sb, address=0, size=1, layout={"a":1,"a":2}', "3:42: error: '{"),
        ('.port {"name":"x"}', "3:7: error: port: 'shape' is missing"),
        (".source node", "3:9: error: 'node' is not JSON"),
        (".metadata 3, 4", '3:11: error: expected a "text", found 3'),
        ('.metadata "a", 1\n.metadata "a", 2', '4:1: error: metadata "a" is given twice'),
        (".symbol k, sb, address=0, size=1\n.symbol k, sb, address=0, size=1", "4:1: error: symbol 'k' is defined twi"),
        (".data\n.words 1", "4:1: error: .words without a .segment before it"),
        (".data\n.segment s, i8, shape=[1]", "4:13: error: 'i8' is not one of bf16, f32, u32"),
        (".data\n.segment s, u32, shape=[-1]", "4:24: error: 'shape=' is a list of sizes"),
        (".data\n.segment s, u32, shape=[2]\n.words 1", "4:1: error: segment 's' has 1 words, its shape asks for 2"),
        (".data\n.segment s, u32, shape=[1]\n.words 4294967296", "5:8: error: '4294967296' is no u32 element"),
        (".data\n.segment s, bf16, shape=[1]\n.words 1.5", "5:8: error: '1.5' is no bf16 element"),
        (".text\nx: halt\nx: halt", "5:1: error: label 'x' is defined twice"),
        (".text\n.entry e\nhalt\n.entry e\nhalt", "6:1: error: entry 'e' is defined twice"),
        ('.source "n"\n.text\nhalt\n.loc 0\nhalt', "5:1: error: an instruction before the first .loc"),
        ('.machine "x"', "3:1: error: .machine is given twice"),
        ("halt", "3:1: error: 'halt' belongs into section .text"),
    ],
)
def test_a_wrong_directive_is_refused(line: str, message: str) -> None:
    assert _errors(f"{HEAD}.symbols\n{line}\n").startswith(f"a.pimasm:{message}")


def test_all_errors_come_in_the_order_of_the_lines() -> None:
    text = f"{HEAD}.symbols\n.region a\n.text\nadd r1\nhalt (\n"
    assert [line for line in _errors(text).splitlines() if line.startswith("a.pimasm")] == [
        "a.pimasm:3:10: error: expected a memory space",
        "a.pimasm:5:7: error: operand 'ra' of add is missing",
        "a.pimasm:6:6: error: unexpected '(', expected a name, a register, a number, '+', ':' or '['",
    ]


def test_the_machine_completes_what_the_text_leaves_out() -> None:
    program = isa.assemble('.machine "gddr6-aim", numerics=fp32\n.text\nopen ch=all, addr=[0]\n')
    assert program.machine_sha256 == isa.load_machine("gddr6-aim").sha256
    assert program.code[0]["ch"] == 0xFFFFFFFF
    assert program.numerics == "fp32"


def test_an_unknown_machine_is_refused() -> None:
    assert _errors('.machine "gddr6-aimm"\n').splitlines()[:3] == [
        "a.pimasm:1: error: unknown machine 'gddr6-aimm'",
        '  .machine "gddr6-aimm"',
        f"note: bundled machines: {', '.join(isa.machine_names())}",
    ]
    assert _errors("") == 'a.pimasm: error: there is no .machine directive\nhelp: write .machine "gddr6-aim"'


def test_sections_must_not_contradict_each_other() -> None:
    text = f"{HEAD}.symbols\n.region a, sb, address=0, size=2, role=scratch\n.text\n.entry e, kv\nhalt\n"
    assert _errors(text) == (
        "a.pimasm: error: the program is not well formed\nnote: entry 'e': unknown register symbol 'kv'"
    )


def test_words_may_be_numbers() -> None:
    text = f"{HEAD}.symbols\n.region a, sb, address=0, size=4, role=constants\n.data\n.segment a, u32, shape=[4]\n"
    data = isa.assemble(f"{text}.words 1.0, 3\n.words -1, 0x10\n").segments[0].data
    assert data.tolist() == [0x3F800000, 3, 0xFFFFFFFF, 16]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"\1\0\0\0\2\0\0\0", None),
        (b"\1\0\0\0\2\0\0\1", "do not have the sha256 that the text states"),
        (b"\1\0\0\0", "needs bytes 0 to 8 of"),
        (None, "cannot read the data file"),
    ],
)
def test_data_files_are_checked(tmp_path: Path, written: bytes | None, message: str | None) -> None:
    if written is not None:
        (tmp_path / "d").write_bytes(written)
    text = (
        f"{HEAD}.symbols\n.region a, sb, address=0, size=2, role=constants\n.data\n"
        '.segment a, u32, shape=[2], file="d", offset=0, '
        'sha256="34fb5c825de7ca4aea6e712f19d439c1da0c92c37b423936c5f618545ca4fa1f"\n'
    )
    if message is None:
        assert isa.assemble(text, base_folder=tmp_path).segments[0].data.tolist() == [1, 2]
        return
    with pytest.raises(isa.AssemblyError, match=message):
        isa.assemble(text, base_folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/d", "'/d' is refused: it does not lie in the folder of the text"),
        ("../d", "'../d' is refused: it does not lie in the folder of the text"),
        ("inner/../../d", "'inner/../../d' is refused: it does not lie in the folder of the text"),
        ("", "'' is refused: it does not lie in the folder of the text"),
        ("inner", "'inner' is refused: it is no regular file"),
        ("pipe", "'pipe' is refused: it is no regular file"),
        ("link", "'link': a symbolic link is not followed"),
        ("folder/d", "'folder/d': "),
    ],
)
def test_data_files_lie_in_the_folder_of_the_text(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "d").write_bytes(b"\1\0\0\0\2\0\0\0")
    base = tmp_path / "text"
    (base / "inner").mkdir(parents=True)
    os.mkfifo(base / "pipe")
    (base / "link").symlink_to(tmp_path / "d")
    (base / "folder").symlink_to(tmp_path)
    text = (
        f"{HEAD}.symbols\n.region a, sb, address=0, size=2, role=constants\n.data\n"
        f'.segment a, u32, shape=[2], file="{name}", offset=0, '
        'sha256="34fb5c825de7ca4aea6e712f19d439c1da0c92c37b423936c5f618545ca4fa1f"\n'
    )
    with pytest.raises(isa.AssemblyError, match=re.escape(f"the data file {message}")):
        isa.assemble(text, base_folder=base)


@given(st.text(st.sampled_from(' \n.,:;[]{}=+-"r1x0aaddmac'), max_size=60))
def test_any_text_is_a_program_or_an_error(text: str) -> None:
    try:
        program = isa.assemble(HEAD + ".text\n" + text)
    except isa.AssemblyError:
        return
    assert isa.assemble(isa.disassemble(program)).code == program.code
