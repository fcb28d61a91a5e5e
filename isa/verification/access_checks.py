"""Whether an instruction stays inside the machine and inside the program's memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from isa.operands import VECTOR_FUNCTIONS
from isa.program import Program, Region
from isa.verification.access_ranges import Access, Operands
from isa.verification.accesses import counts
from isa.verification.array_accesses import ARRAY_RULES, array_errors
from isa.verification.cam_accesses import cam_errors
from isa.verification.codec_accesses import codec_errors
from isa.verification.crossbar_accesses import CROSSBAR_RULES, crossbar_errors
from isa.verification.linear import Linear
from isa.verification.register_state import bounds_of

_UNITS = {
    "sb": "word",
    "bank": "bank column",
    "gb": "global buffer column",
    "acc": "accumulator",
    "key": "key",
    "value": "value",
    "candidate": "candidate",
    "value_row": "value buffer row",
    "off": "off-chip byte",
    "xb": "crossbar column",
}
_NO_ACCUMULATOR_FUNCTIONS = ("from_int", "to_int")


def check_operands(operands: Operands) -> tuple[list[str], Operands | None]:
    """What is wrong with counts, masks and indices; the operands where something is done, `None` where nothing is."""
    errors: list[str] = []
    facts = operands.state.facts
    unknowns = operands.unknowns
    for name in counts(operands):
        value = operands.value(name)
        if not unknowns.at_least(value, 0, facts):
            errors.append(f"'{name}' can be {bounds_of(unknowns, value, facts)[0]}")
        if unknowns.at_most(value, 0, facts):
            return errors, None
        if not unknowns.at_least(value, 1, facts):
            facts = (*facts, value - 1)
    working = replace(operands, state=replace(operands.state, facts=facts))
    if operands.built.spec.unit == "channel":
        if operands.near_bank is None:
            return ["the machine has no banks"], None
        errors += _channel_errors(working)
    if operands.built.spec.extension == "K":
        errors += codec_errors(working)
    if operands.built.spec.extension == "C":
        errors += cam_errors(working)
    if operands.built.mnemonic in ARRAY_RULES:
        errors += array_errors(working)
    if operands.built.mnemonic in CROSSBAR_RULES:
        errors += crossbar_errors(working)
    return errors, working


def _channel_errors(operands: Operands) -> Iterator[str]:
    device = operands.device
    yield from _index_error(operands, "ch", 1, device.all_channels, "the channel mask")
    if operands.has("bank"):
        yield from _index_error(operands, "bank", 0, device.banks - 1, "the bank")
    if operands.has("lane"):
        yield from _index_error(operands, "lane", 0, device.lanes - 1, "the lane")
    if operands.has("cdiv") and operands.number("cdiv") == 0:
        yield "'cdiv' is 0; a channel number cannot be divided by it"
    if operands.built.mnemonic == "ewmul" and device.banks_per_group < 3:
        yield f"a bank group of this machine has {device.banks_per_group} banks, ewmul needs 3"
    if operands.built.mnemonic == "af" and operands.word("fn") in _NO_ACCUMULATOR_FUNCTIONS:
        allowed = [name for name in VECTOR_FUNCTIONS if name not in _NO_ACCUMULATOR_FUNCTIONS]
        yield f"accumulators have no function '{operands.word('fn')}'; allowed: {', '.join(allowed)}"
    if operands.built.mnemonic == "mac" and device.mac_gb_column == "equal":
        yield from _equal_column_errors(operands)


def _index_error(operands: Operands, name: str, low: int, high: int, what: str) -> Iterator[str]:
    value, facts = operands.value(name), operands.state.facts
    if operands.unknowns.at_least(value, low, facts) and operands.unknowns.at_most(value, high, facts):
        return
    first, last = bounds_of(operands.unknowns, value, facts)
    found = f"{first}" if first == last else f"{first} to {last}"
    yield f"{what} can be {found}; allowed: {low} to {high}"


def _equal_column_errors(operands: Operands) -> Iterator[str]:
    row = operands.device.columns_per_row
    distance = operands.value("addr") - operands.value("gb")
    strides = operands.number("bstride") - operands.number("gstride")
    several = not operands.unknowns.at_most(operands.value("outs"), 1, operands.state.facts)
    if distance.split(row)[1] != Linear() or (several and strides % row):
        yield "bank and global buffer columns differ; on this machine both are the same (mac_gb_column: equal)"


def check_access(operands: Operands, access: Access, program: Program, capacity: int) -> str | None:
    """What is wrong with a range of addresses: outside its space, outside every region, or a write to constants."""
    unknowns, facts = operands.unknowns, operands.state.facts
    first, last = access.start, access.start + access.size - 1
    inside = unknowns.at_least(first, 0, facts) and unknowns.at_most(last, capacity - 1, facts)
    if not inside:
        low, high = reach(operands, access)
        return f"'{access.operand}' can reach {_UNITS[access.space]}s {low} to {high}; allowed: 0 to {capacity - 1}"
    if access.space == "bank":
        return _bank_error(operands, access, program)
    if access.space == "sb" and access.writes:
        return _constant_error(operands, access, program)
    return None


def reach(operands: Operands, access: Access) -> tuple[int, int]:
    """First and last address that an access can touch."""
    facts = operands.state.facts
    low = bounds_of(operands.unknowns, access.start, facts)[0]
    return low, bounds_of(operands.unknowns, access.start + access.size - 1, facts)[1]


def _bank_error(operands: Operands, access: Access, program: Program) -> str | None:
    low, high = reach(operands, access)
    banks = [region for region in program.regions if region.space == "bank"]
    region = next((each for each in banks if each.address <= low < each.address + each.size), None)
    if region is None or high >= region.address + region.size:
        known = "; ".join(_describe(each) for each in banks) or "the program has none"
        return f"'{access.operand}' can reach bank columns {low} to {high}, which lie in no one region ({known})"
    wrong = _element_error(operands, region)
    if wrong is not None:
        return wrong
    if access.writes and not region.writable:
        return f"it writes bank columns {low} to {high} of region '{region.name}', whose role is {region.role}"
    return None


def _element_error(operands: Operands, region: Region) -> str | None:
    """Numbers and codes are not taken for each other; words and rows are moved and opened in either."""
    is_word = "form" in [each.name for each in operands.built.spec.operands] and operands.word("form") == "word"
    if operands.built.mnemonic == "open" or is_word:
        return None
    needed = "code" if operands.built.spec.extension == "K" else "number"
    if region.element == needed:
        return None
    return f"it works on {needed}s, and region '{region.name}' holds {region.element}s"


def _constant_error(operands: Operands, access: Access, program: Program) -> str | None:
    low, high = reach(operands, access)
    for region in program.regions:
        overlaps = region.space == "sb" and region.address <= high and low < region.address + region.size
        if overlaps and not region.writable:
            return f"it can write words {low} to {high}; {_describe(region)} has the role {region.role}"
    return None


def _describe(region: Region) -> str:
    return f"region '{region.name}': {region.address} to {region.address + region.size - 1}"
