from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_strategies import instructions

import isa

REGISTERS = [isa.instruction("li", number, 3 * number) for number in range(isa.REGISTER_COUNT)]
PLAIN = instructions().filter(lambda built: built.mnemonic not in ("loop", "end", "skipz", "halt"))

HEAD = """
.machine "gddr6-aim"
.symbols
.register length, r0, low=0, high=2047
.register count, r1, low=1, high=16
.limit length, count, high=2048
.region weights, bank, address=0, size=64, role=weights
.region cache, bank, address=64, size=64, role=cache
.region gains, sb, address=0, size=16, role=constants
.region given, sb, address=16, size=64, role=inputs
.region work, sb, address=80, size=5000, role=scratch
.text
.entry run, length, count
"""


def _check(lines: str, machine: isa.Machine, head: str = HEAD) -> list[str]:
    return [str(each) for each in isa.check_program(isa.assemble(head + lines + "\nhalt\n"), machine)]


FILL = "vfill dst=[80], len=4096\nwrgb ch=all, src=[16], cols=4\nwracc ch=all, count=32\n"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        # registers and control flow
        ("add r3, r4, 1", "instruction 0: add: r4 is read, but not written on every way that leads here"),
        ("skipz r0, on\nli r3, 1\non:\nadd r4, r3, 1", "instruction 2: add: r3 is read, but not written on every way"),
        ("loop r2, r0\nli r3, 1\nend\nadd r4, r3, 1", "instruction 3: add: r3 is read, but not written on every way"),
        ("loop r2, 3", "instruction 0: loop: this loop has no `end`"),
        ("end", "instruction 0: end: `end` without a loop"),
        ("on:\nskipz r0, on", "instruction 0: skipz: skipz goes back to instruction 0"),
        ("skipz r0, 9", "instruction 0: skipz: skipz goes to instruction 9, the code has 2"),
        ("skipz r0, on\nloop r2, 3\non:\nend", "instruction 0: skipz: skipz goes to instruction 2, which is not in"),
        ("loop r2, 3\nskipz r0, on\nend\non:", "instruction 1: skipz: skipz goes to instruction 3, which is not in"),
        ("loop r2, 3\n.entry other\nend", "instruction 1: end: entry 'other' starts inside a loop"),
        ("sub r3, r1, 2\nloop r2, r3\nend", "instruction 1: loop: the number of iterations can be -1"),
        # scalar operands
        ("divu r3, r1, r0", "instruction 0: divu: the divisor can be 0; it must be at least 1"),
        ("remu r3, r1, 0", "instruction 0: remu: the divisor can be 0; it must be at least 1"),
        ("shl r3, r1, r0", "instruction 0: shl: the shift can be outside 0 to 63 bits"),
        # shared buffer
        (
            "vfill dst=[1048570], len=7",
            "instruction 0: vfill: 'dst' can reach words 1048570 to 1048576; allowed: 0 to 1048575",
        ),
        ("mul r3, r0, 600\nvfill dst=[80+r3], len=1", "instruction 1: vfill: 'dst' can reach words 80 to 1228280; all"),
        ("vfill dst=[80], len=1, rows=2, dst_row=1048496", "instruction 0: vfill: 'dst' can reach words 80 to 1048576"),
        ("sub r3, r0, 4000\nvfill dst=[80], len=r3", "instruction 1: vfill: 'len' can be -4000"),
        ("sub r3, r0, 1\nvfill dst=[80+r3], len=r3", "instruction 1: vfill: 'len' can be -1"),
        ("vfill dst=[10], len=2", "instruction 0: vfill: it can write words 10 to 11; region 'gains': 0 to 15 has the"),
        ("lds r3, src=[16]\nvfill dst=[80+r3], len=1", "instruction 1: vfill: 'dst' can reach words -2147483568 to"),
        # channels, banks, global buffers, accumulators
        ("open ch=0x0, addr=[0]", "instruction 0: open: the channel mask can be 0; allowed: 1 to 4294967295"),
        ("li r3, 1\nshl r3, r3, r1\nshl r3, r3, r1\nopen ch=r3, addr=[0]", "instruction 3: open: the channel mask c"),
        ("open ch=all, addr=[128]", "instruction 0: open: 'addr' can reach bank columns 128 to 128, which lie in no o"),
        ("open ch=all, addr=[1048576]", "instruction 0: open: 'addr' can reach bank columns 1048576 to 1048576; allo"),
        ("ldb ch=0, bank=r1, addr=[0], cols=1, dst=[80]", "instruction 0: ldb: the bank can be 1 to 16; allowed: 0 "),
        ("stlane ch=0, addr=[64], lane=16, count=1, src=[16]", "instruction 0: stlane: the lane can be 16; allowed: "),
        ("wrgb ch=0, gb=[60], src=[16], cols=5", "instruction 0: wrgb: 'gb' can reach global buffer columns 60 to 64"),
        ("wracc ch=0, acc=[30], count=3", "instruction 0: wracc: 'acc' can reach accumulators 30 to 32; allowed: 0 t"),
        ("wrgb ch=0, src=[16], cols=1, cdiv=0", "instruction 0: wrgb: 'cdiv' is 0; a channel number cannot be divide"),
        ("ldb ch=0-9, addr=[0], cols=1, dst=[1048420], si=16", "instruction 0: ldb: 'dst' can reach words 1048420 to"),
        ("ldb ch=0, addr=[60], cols=5, dst=[80]", "instruction 0: ldb: 'addr' can reach bank columns 60 to 64, which"),
        ("stb ch=0, addr=[63], cols=1, src=[16]", "instruction 0: stb: it writes bank columns 63 to 63 of region 'we"),
        ("stlane ch=0, addr=[120], count=129, src=[16]", "instruction 0: stlane: 'addr' can reach bank columns 120 t"),
        (
            "ewmul ch=0, addr=[0], cols=1",
            "instruction 0: ewmul: it writes bank columns 0 to 0 of region 'weights',",
        ),
        ("wracc ch=0, count=1\naf ch=0, fn=to_int", "instruction 1: af: accumulators have no function 'to_int'; allo"),
        # reads of what nothing has written
        ("vadd dst=[80], a=[16], b=[200], len=4", "instruction 0: vadd: it reads word 200 of the shared buffer, whic"),
        ("vfill dst=[80], len=7\nvmap dst=[90], a=[80], len=8", "instruction 1: vmap: it reads word 87 of the shared "),
        ("vmac dst=[80], a=[16], b=[16], len=4", "instruction 0: vmac: it reads word 80 of the shared buffer, which n"),
        ("vsel dst=[80], a=[16], b=[16], len=4", "instruction 0: vsel: it reads word 80 of the shared buffer, which n"),
        ("rdacc ch=0-1, count=1, dst=[80], mode=add, sj=16\n", "instruction 0: rdacc: it reads accumulator 0 of chan"),
        ("wracc ch=0, count=2\nrdacc ch=0, count=3, dst=[80]", "instruction 1: rdacc: it reads accumulator 2 of chann"),
        ("wracc ch=all, count=1\nwrgb ch=0-3, src=[16], cols=1\nmac ch=0-4, addr=[0], cols=1", "instruction 2: mac: i"),
        ("loop r2, 3\nvmap dst=[90], a=[80], len=1\nvfill dst=[80], len=1\nend", "instruction 1: vmap: it reads word"),
    ],
)
def test_a_broken_rule_is_found(machine: isa.Machine, lines: str, message: str) -> None:
    found = _check(lines, machine)
    assert any(each.startswith(message) for each in found), found


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "vfill dst=[80+r0], len=r1",
        FILL + "mac ch=all, addr=[64], cols=4, outs=16, bstride=4\nrdacc ch=all, count=17, dst=[80], si=544",
        FILL + "loop r2, r1\nmin r3, r2, 7\nmul r3, r3, 4\nstb ch=0, bank=r2, addr=[64+r3], cols=4, src=[16]\nend",
        # the tiles of an attention: rest and quotient belong together
        FILL
        + "add r2, r0, r1\nadd r2, r2, 159\ndivu r2, r2, 160\nadd r3, r2, 9\ndivu r3, r3, 10\n"
        + "loop r4, r3\nmul r5, r4, 10\nsub r6, r2, r5\nmin r6, r6, 10\nmul r7, r5, 4\n"
        + "mac ch=all, addr=[64+r7], cols=4, outs=r6, bstride=4\nend",
        # a sliding window: from a multiple below the first position to the end
        "add r2, r0, 1\nsub r3, r2, 100\nmax r3, r3, 0\nsub r4, r2, r3\nvfill dst=[80+r3], len=r4\n"
        "divu r5, r3, 16\nmul r5, r5, 16\nsub r6, r3, r5\nskipz r6, on\nvfill dst=[80+r5], len=r6\non:",
        # an index from the outside world, brought into its table
        "lds r3, src=[16]\nadd r4, r3, 64\nremu r4, r4, 64\ndivu r5, r4, 16\nremu r6, r4, 16\nli r7, 1\n"
        "shl r7, r7, r5\n"
        "ldb ch=r7, bank=r6, addr=[0+r4], cols=1, dst=[80]",
        # a part that the first iteration skips may read what the first iteration writes
        "loop r2, 3\nskipz r2, on\nvmap dst=[90], a=[80], len=1\non:\nvfill dst=[80], len=1\nend",
        # an instruction without work touches nothing
        "sub r3, r1, 1\nvfill dst=[5079], len=0\nvfill dst=[5065+r3], len=r3",
        # a part that never runs is not held against the program
        "li r3, 0\nskipz r3, on\nvfill dst=[0], len=1\non:",
        "loop r2, 0\nvfill dst=[0], len=1\nend",
        # code after a halt on every way
        "skipz r0, on\nvfill dst=[80], len=1\nhalt\non:",
    ],
)
def test_a_good_program_passes(machine: isa.Machine, lines: str) -> None:
    assert _check(lines, machine) == []


def test_an_entry_must_end(machine: isa.Machine) -> None:
    program = isa.assemble(HEAD + "vfill dst=[80], len=1\n")
    assert [str(each) for each in isa.check_program(program, machine)] == [
        "instruction 0: vfill: entry 'run' runs past the end of the code; a `halt` is missing"
    ]


def test_entries_may_read_what_others_write(machine: isa.Machine) -> None:
    lines = "vmap dst=[90], a=[80], len=1\nhalt\n.entry first\nvfill dst=[80], len=1"
    assert _check(lines, machine) == []


def test_registers_belong_to_the_entry_that_names_them(machine: isa.Machine) -> None:
    found = _check("halt\n.entry other\nvfill dst=[80+r0], len=1", machine)
    assert found == ["instruction 1: vfill: r0 is read, but not written on every way that leads here"]


def test_a_machine_without_the_extension_is_refused(machine: isa.Machine) -> None:
    bare = machine.model_copy(update={"near_bank": None, "name": "bare"})
    found = _check("open ch=all, addr=[0]", bare)
    assert found == [
        "region 'weights' lies in space bank, which the machine 'bare' lacks",
        "region 'cache' lies in space bank, which the machine 'bare' lacks",
        "instruction 0: open: the machine 'bare' has no extension B",
    ]


def test_sections_must_fit_the_machine(machine: isa.Machine) -> None:
    head = """
.machine "gddr6-aim"
.symbols
.region weights, bank, address=1048570, size=7, role=weights
.symbol x, sb, address=1048576, size=1
.data
.segment weights, bf16, shape=[1,1,7]
.words 1, 2, 3, 4, 5, 6, 7
.text
"""
    assert _check("", machine, head) == [
        "region 'weights' ends at 1048576 of space bank, which has 0 to 1048575",
        "symbol 'x' ends at 1048576 of space sb, which has 0 to 1048575",
        "segment 'weights' has the shape [1, 1, 7], the machine needs [32, 16, 112]",
    ]


def test_equal_columns_are_proven_where_the_machine_asks_for_them(machine: isa.Machine) -> None:
    assert machine.near_bank is not None
    device = machine.near_bank.model_copy(update={"mac_gb_column": "equal"})
    strict = machine.model_copy(update={"near_bank": device})
    head = HEAD.replace("address=64, size=64", "address=64, size=192")
    good = "loop r2, 2\nmul r3, r2, 64\nmac ch=all, addr=[68+r3], gb=[4], cols=4, outs=1\nend"
    fill = "wrgb ch=all, src=[16], cols=64, sn=0\nwracc ch=all, count=32\n"
    assert _check(fill + good, strict, head) == []
    assert "bank and global buffer columns differ" in _check(fill + good.replace("gb=[4]", "gb=[5]"), strict, head)[0]
    assert (
        "bank and global buffer columns differ"
        in _check(fill + good.replace("outs=1", "outs=2, bstride=4"), strict, head)[0]
    )


def test_everything_is_raised_at_once_with_its_origin(machine: isa.Machine) -> None:
    head = HEAD.replace(".text", '.source "attention"\n.text') + ".loc 0\n"
    program = isa.assemble(head + "vfill dst=[0], len=1\nopen ch=0x0, addr=[0]\nhalt\n")
    with pytest.raises(isa.ProgramError) as caught:
        isa.require_valid(program, machine)
    assert str(caught.value) == (
        "node 'attention': error: instruction 0: vfill: it can write words 0 to 0; region 'gains': 0 to 15 has the role"
        " constants\nnode 'attention': error: instruction 1: open: the channel mask can be 0; allowed: 1 to 4294967295"
    )


@settings(max_examples=60)
@given(st.lists(PLAIN, max_size=8), st.lists(PLAIN, max_size=8))
def test_any_code_is_judged(machine: isa.Machine, body: list[isa.Instruction], rest: list[isa.Instruction]) -> None:
    loop = [isa.instruction("loop", 1, isa.Indexed(-2, 2)), *body, isa.instruction("end")]
    code = (*REGISTERS, *loop, *rest, isa.instruction("halt"))
    regions = (isa.Region("cache", "bank", 0, 500_000, "cache"),)
    program = isa.Program("m", "", "machine", code, {"run": isa.Entry("run", 0, ())}, regions=regions)
    for found in isa.check_program(program, machine):
        assert found.instruction is not None
        assert code[found.instruction].mnemonic in str(found)
