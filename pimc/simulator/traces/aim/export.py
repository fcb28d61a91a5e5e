"""A recorded run as a trace of the published AiM simulator: loops unrolled, addresses resolved.

Every instruction of the channels becomes the lines that cause its commands:

* `wrgb`, `ewmul`, `cpbg`, `cpgb`, `mac`: one line with a count, `mac` and copies one for each part of a row;
* `wracc`, `rdacc`, `rdaf`, `af`, `ldb`, `stb`, `wrab`: one line a command, `af` behind a `W CFR` for another function;
* `open`: MAC_ABK of one column, the only line that opens a row in all banks; it costs a MAC16 that the program lacks;
* `stlane`: for each stripe the same MAC_ABK, then WR_SBK of each bank.

A vector instruction is an EWADD line, `lds` and `sts` are GPR lines: a front-end cycle each, whatever the instruction
takes. The sequencer's own instructions have no line. The format has no first columns, accumulators, lanes and data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from isa import INSTRUCTIONS, Machine, MachineError, NearBank, Program, UnsupportedError
from pimc.simulator.engine.decoding import CHANNEL
from pimc.simulator.recording.recorder import Recording

_ACTIVATION_FUNCTION_REGISTER = 2
_LANES_OF_A_REGISTER = 16  # what an EWADD adds at once

_Operands = Mapping[str, int]
_Lines = Iterator[str]


def aim_isr_lines(recording: Recording, program: Program, machine: Machine) -> Iterator[str]:
    """The lines of the trace, without line ends; the last one is EOC.

    Args:
        recording: A run of the program.
        program: The program.
        machine: A machine with near-bank units.

    Raises:
        MachineError: the machine has no near-bank units.
        UnsupportedError: the program has instructions of extension K, which these traces lack.
    """
    near_bank = machine.near_bank
    if near_bank is None:
        raise MachineError(f"the machine '{machine.name}' has no near-bank units (extension B)")
    _refuse_codec(program)
    function = 0
    executions = zip(recording.index, recording.unit, recording.elements, recording.operands, strict=True)
    for index, unit, elements, operands in executions:
        mnemonic = program.code[index].mnemonic
        if unit != CHANNEL:
            yield _controller_line(mnemonic, int(elements))
            continue
        names = [operand.name for operand in INSTRUCTIONS[mnemonic].operands]
        values = dict(zip(names, operands, strict=True))
        if mnemonic == "af" and values["fn"] != function:
            function = values["fn"]
            yield f"W CFR {_ACTIVATION_FUNCTION_REGISTER} {function}"
        yield from _LINES[mnemonic](near_bank, values)
    yield "AiM EOC"


def _refuse_codec(program: Program) -> None:
    used = dict.fromkeys(row.mnemonic for row in program.code if row.spec.extension == "K")
    if used:
        raise UnsupportedError(
            "traces of the published AiM simulator have no KV codec (extension K)",
            notes=[f"the program uses {', '.join(used)}"],
            help="export a program that was compiled without compressed keys and values",
        )


def _controller_line(mnemonic: str, elements: int) -> str:
    if mnemonic in ("lds", "sts"):
        return f"{'R' if mnemonic == 'lds' else 'W'} GPR 0"
    return f"AiM EWADD {-(-elements // _LANES_OF_A_REGISTER)} 0 0"


def _mask(near_bank: NearBank, channels: int) -> str:
    """A channel mask as the traces have it: the first channel is the highest bit."""
    return f"0x{int(f'{channels:0{near_bank.channels}b}'[::-1], 2):08x}"


def _pieces(near_bank: NearBank, address: int, columns: int) -> Iterator[tuple[int, int]]:
    """Row and number of columns of each part of a range that lies in one row."""
    position, end = address, address + columns
    while position < end:
        row = position // near_bank.columns_per_row
        border = min(end, (row + 1) * near_bank.columns_per_row)
        yield row, border - position
        position = border


def _repeated(opcode: str, count: str) -> Callable[[NearBank, _Operands], _Lines]:
    """A line of a command on all banks for each of `count`, an operand; one where it names none."""

    def lines(near_bank: NearBank, values: _Operands) -> _Lines:
        reads = near_bank.acc_read_bits // 16 if opcode == "RD_MAC" else 1
        fields = "" if opcode == "AF" else "0 "
        for _ in range(reads * (values[count] if count else 1)):
            yield f"AiM {opcode} {fields}{_mask(near_bank, values['ch'])}"

    return lines


def _write_buffer(near_bank: NearBank, values: _Operands) -> _Lines:
    yield f"AiM WR_GB {values['cols']} 0 {_mask(near_bank, values['ch'])}"


def _multiply(near_bank: NearBank, values: _Operands) -> _Lines:
    mask = _mask(near_bank, values["ch"])
    for output in range(values["outs"]):
        for row, columns in _pieces(near_bank, values["addr"] + output * values["bstride"], values["cols"]):
            yield f"AiM MAC_ABK {columns} {mask} {row}"


def _open(near_bank: NearBank, values: _Operands) -> _Lines:
    yield f"AiM MAC_ABK 1 {_mask(near_bank, values['ch'])} {values['addr'] // near_bank.columns_per_row}"


def _in_rows(opcode: str) -> Callable[[NearBank, _Operands], _Lines]:
    """A line with a count for each part of a row, of all banks or of the operand `bank`."""

    def lines(near_bank: NearBank, values: _Operands) -> _Lines:
        bank = f" {values['bank']}" if "bank" in values else ""
        for row, columns in _pieces(near_bank, values["addr"], values["cols"]):
            yield f"AiM {opcode} {columns} {_mask(near_bank, values['ch'])}{bank} {row}"

    return lines


def _by_columns(opcode: str) -> Callable[[NearBank, _Operands], _Lines]:
    """A line for each column, of all banks or of the operand `bank`."""

    def lines(near_bank: NearBank, values: _Operands) -> _Lines:
        bank = f" {values['bank']}" if "bank" in values else ""
        for row, columns in _pieces(near_bank, values["addr"], values["cols"]):
            for _ in range(columns):
                yield f"AiM {opcode} 0 {_mask(near_bank, values['ch'])}{bank} {row}"

    return lines


def _store_lane(near_bank: NearBank, values: _Operands) -> _Lines:
    mask, count = _mask(near_bank, values["ch"]), values["count"]
    opcodes = ("WR_SBK",) if near_bank.write_mask == "lane" else ("RD_SBK", "WR_SBK")
    for stripe in range(-(-count // near_bank.banks)):
        row = (values["addr"] + stripe * values["cstride"]) // near_bank.columns_per_row
        yield f"AiM MAC_ABK 1 {mask} {row}"
        for opcode in opcodes:
            for bank in range(min(near_bank.banks, count - stripe * near_bank.banks)):
                yield f"AiM {opcode} 0 {mask} {bank} {row}"


_LINES: Mapping[str, Callable[[NearBank, _Operands], _Lines]] = {
    "wrgb": _write_buffer,
    "wracc": _repeated("WR_BIAS", "count"),
    "mac": _multiply,
    "rdacc": _repeated("RD_MAC", "count"),
    "open": _open,
    "ldb": _by_columns("RD_SBK"),
    "stb": _by_columns("WR_SBK"),
    "stlane": _store_lane,
    "wrab": _by_columns("WR_ABK"),
    "ewmul": _in_rows("EWMUL"),
    "af": _repeated("AF", ""),
    "rdaf": _repeated("RD_AF", ""),
    "cpbg": _in_rows("COPY_BKGB"),
    "cpgb": _in_rows("COPY_GBBK"),
}
"""How each near-bank instruction is written; one for every row of extension B."""
