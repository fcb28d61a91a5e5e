"""What the KV cache holds and what moved to and from it, from a program and the counters of a run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import Indexed, Instruction, Kind, Machine, Program
from passes import Cache, Stored, cache_from_facts, stored
from pimc.simulator.accounting.record_statistics import Records
from pimc.simulator.accounting.search_traffic import search_traffic
from pimc.simulator.accounting.stats import CacheStatistics
from pimc.simulator.engine.counters import Counters

_READS = ("RD", "RDA", "RDCP", "MAC")
"""Commands that read a column of one bank; `MAC16` reads one of every bank."""

_ARRAYS = "xb"
"""Space of keys and values in columns of crossbars."""

_BFLOAT16_BITS = 16
"""Bits of an element that a CAM stores of a value."""

_WRITES = ("WR", "WRA", "WRCP")
"""Commands that write a column of one bank; `WRA16` writes one of every bank."""


class CacheAccountant:
    """Says what a program's KV cache holds, and what instructions moved to and from it."""

    def __init__(self, machine: Machine, program: Program, commands: Sequence[str]) -> None:
        """Prepare for any number of runs.

        Args:
            machine: The machine.
            program: The program.
            commands: Names of the DRAM commands that are counted.
        """
        near_bank = machine.near_bank
        cam_bits = _BFLOAT16_BITS if machine.cam is not None else 0
        self._element_bits = near_bank.element_bits if near_bank is not None else cam_bits
        self._searched = {str(each["name"]) for each in _listed(program, "searched_cache")}
        self._traffic = search_traffic(program, machine)
        self._array_bits = 0 if machine.crossbar is None else machine.crossbar.weight_bits
        self._in_arrays = {symbol.name for symbol in program.symbols if symbol.space == _ARRAYS}
        self._caches = list(_caches(program))
        self._array_writes = _array_writes(program, machine)
        self._instructions = np.flatnonzero(_touches_cache(program))
        banks = near_bank.banks if near_bank is not None else 0
        column = near_bank.lanes * self._element_bits // 8 if near_bank is not None else 0
        self._all_banks_bytes = banks * column
        self._read_bytes = np.array([_columns(name, _READS, "MAC16", banks) * column for name in commands], np.int64)
        self._written_bytes = np.array(
            [_columns(name, _WRITES, "WRA16", banks) * column for name in commands], np.int64
        )

    def statistics(self, counters: Counters, tokens: int, records: Mapping[str, Records]) -> CacheStatistics:
        """The cache at the end of a run.

        Args:
            counters: What happened.
            tokens: Tokens of the sequence so far.
            records: Records of pruned tokens, by cache, where they are known; else they are estimated.
        """
        found = [(cache, sequences, self._stored(cache, tokens)) for cache, sequences in self._caches]
        array_elements = sum(counters.elements[index] for index in self._array_writes)
        exact = sum(
            n * cache.kv_heads * (cache.head_dim + cache.value_dim) * self._bits(cache) for cache, n, _ in found
        )
        issued = counters.commands[self._instructions].sum(axis=0)
        read_before = sum(counters.further_beats[index] for index in self._instructions)
        return CacheStatistics(
            tokens_kept=max((each.tokens for *_, each in found), default=tokens),
            bytes=sum(
                records[cache.name].bytes if cache.name in records else -(-sequences * each.bits // 8)
                for cache, sequences, each in found
            ),
            uncompressed_bytes=tokens * exact // 8,
            bytes_read=int(issued @ self._read_bytes)
            - read_before * self._all_banks_bytes
            + sum(counters.executed[index] * moved for index, moved in self._traffic.read.items()),
            bytes_written=int(issued @ self._written_bytes)
            + array_elements * self._array_bits // 8
            + sum(counters.executed[index] * moved for index, moved in self._traffic.written.items()),
            levels=sum(each.levels for each in records.values()),
            survivors=_survivors(records.values()),
        )

    def _stored(self, cache: Cache, tokens: int) -> Stored:
        """What a cache holds; a CAM has a bit for an element of a key."""
        held = stored(cache, tokens, self._bits(cache))
        is_sign = cache.name in self._searched
        saved = tokens * cache.kv_heads * cache.head_dim * (self._element_bits - 1) if is_sign else 0
        return replace(held, bits=held.bits - saved)

    def _bits(self, cache: Cache) -> int:
        """Bits of an element that is stored exactly; in crossbars those of a code."""
        return self._array_bits if cache.name in self._in_arrays else self._element_bits


def _survivors(records: Collection[Records]) -> float | None:
    elements = sum(each.tokens * each.channels for each in records)
    return sum(each.survivors for each in records) / elements if elements else None


def _columns(command: str, one_bank: Sequence[str], all_banks: str, banks: int) -> int:
    return banks if command == all_banks else int(command in one_bank)


def _touches_cache(program: Program) -> NDArray[np.bool_]:
    """Which instructions address the banks inside a region of the cache."""
    regions = [region for region in program.regions if region.role == "cache" and region.space == "bank"]
    spans = [range(region.address, region.address + region.size) for region in regions]
    return np.array([any(_bank_address(each) in span for span in spans) for each in program.code], np.bool_)


def _array_writes(program: Program, machine: Machine) -> list[int]:
    """Instructions that write columns of groups that hold keys or values."""
    if machine.crossbar is None:
        return []
    regions = [region for region in program.regions if region.role == "cache" and region.space == _ARRAYS]
    spans = [range(region.address, region.address + region.size) for region in regions]
    writes = [number for number, each in enumerate(program.code) if each.mnemonic == "xprog"]
    firsts = {number: int(str(program.code[number]["group"])) * machine.crossbar.columns for number in writes}
    return [number for number, first in firsts.items() if any(first in span for span in spans)]


def _bank_address(instruction: Instruction) -> int | None:
    """The immediate of the address in the banks, to which a register may add a place in the same region."""
    for operand, value in zip(instruction.spec.operands, instruction.values, strict=True):
        if operand.kind is Kind.BANK:
            return value.immediate if isinstance(value, Indexed) else int(str(value))
    return None


def _listed(program: Program, key: str) -> Iterator[Mapping[str, Any]]:
    """Facts of caches in the metadata of the program, and in those of its entries."""
    for part in (program.metadata, *program.metadata.get("entries", {}).values()):
        yield from part.get(key, ())


def _caches(program: Program) -> Iterator[tuple[Cache, int]]:
    """The caches of a program, and how many sequences each holds."""
    facts = {each["name"]: each for key in ("compressed_cache", "searched_cache") for each in _listed(program, key)}
    if facts:
        yield from ((cache_from_facts(each), 1) for each in facts.values())
        return
    arrays: set[int] = set()
    for symbol in program.symbols:
        if symbol.space == _ARRAYS and symbol.address in arrays:
            continue  # one value that is keys and values
        if symbol.space == _ARRAYS:
            arrays.add(symbol.address)
        if "kv_heads" in symbol.layout:
            heads, width = int(symbol.layout["kv_heads"]), int(symbol.layout["head_dim"])
            yield Cache(symbol.name, heads, width, 0), int(symbol.layout.get("sequences", 1))
