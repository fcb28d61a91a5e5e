"""What attention to keys found by their signs costs for a token: in an associative memory, emulated in the banks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil

from isa import Machine
from passes.ir import Cache, Node
from passes.kv_policies import BinaryKeys
from passes.units.search_limits import searching
from passes.units.unit_costs import BlockCost, attention_in_banks

_SEQUENCED = 9
"""Scalar instructions for a tile: addresses, counts, the loop."""

_Step = tuple[str, str, int, int]
"""(mnemonic, function, rows, length)."""


def search_in_memory(machine: Machine, node: Node, cache: Cache, tokens: int) -> BlockCost:
    """Query heads one after the other; association, normalisation and contextualisation of different heads overlap."""
    cam, selection = machine.cam, _selection(cache)
    assert cam is not None
    heads, tiles, width = int(node.attributes["heads"]), ceil(tokens / cam.rows), cache.value_dim
    winners = (1, selection.count)
    step = cam.duration("cprog", "", 1, 1).occupied + cam.duration("csearch", "", 1, 1).occupied
    step = max(step, _SEQUENCED * machine.sequencer.cycles_per_instruction)
    search = tiles * step + cam.duration("csearch", "", 1, 1).latency
    weights = sum(cam.duration(mnemonic, "", *winners).latency for mnemonic in ("ctop", "cexp", "cdiv"))
    mixing = cam.duration("cmac", "", selection.count, width).latency
    cycles = (heads - 1) * max(search, weights, mixing) + search + weights + mixing
    once = sum(_cam_pj(machine, name) for name in ("cquery", "ctop"))
    each_tile = sum(_cam_pj(machine, name) for name in ("cprog", "csearch", "cfetch"))
    each_winner = sum(_cam_pj(machine, name) for name in ("cexp", "cdiv")) + width * _cam_pj(machine, "cmac")
    picojoules = heads * (once + tiles * each_tile + selection.count * each_winner)
    return BlockCost(cycles * machine.clock_ns, picojoules, keys=cache.kv_heads * tokens)


def _cam_pj(machine: Machine, mnemonic: str) -> float:
    assert machine.cam is not None
    return sum(machine.cam.energies_pj(mnemonic, "").values())


def search_in_banks(machine: Machine, node: Node, cache: Cache, tokens: int) -> BlockCost:
    """Products of signs as of keys; signs, codes, ranking and softmax in the vector unit and the codec.

    What crosses the pins whatever the length counts as well: zeros for the accumulators, a column for each element of
    a new value.
    """
    exact, codec = attention_in_banks(machine, node, cache, tokens), machine.kv_codec
    cycles, picojoules = 0, _columns_in(machine, node, cache) * _column_pj(machine)
    for mnemonic, function, rows, length in _emulation(node, cache, tokens):
        part = codec if mnemonic == "kselect" and codec is not None else machine.vector_unit
        cycles += part.duration(mnemonic, function, rows, length).latency
        picojoules += rows * length * sum(part.energies_pj(mnemonic, function).values())
    time_ns = exact.time_ns + cycles * machine.clock_ns
    return replace(exact, time_ns=time_ns, energy_pj=exact.energy_pj + picojoules)


def _columns_in(machine: Machine, node: Node, cache: Cache) -> int:
    """Columns that all channels take in for a token, besides queries and probabilities."""
    near_bank = machine.near_bank
    assert near_bank is not None
    sums = int(node.attributes["heads"]) // cache.kv_heads * ceil(cache.value_dim / near_bank.banks)
    return near_bank.channels * (near_bank.accumulators + sums) + cache.kv_heads * cache.value_dim


def _column_pj(machine: Machine) -> float:
    near_bank = machine.near_bank
    assert near_bank is not None
    return near_bank.energy.write_pj + near_bank.lanes * near_bank.element_bits * near_bank.energy.dq_pj_per_bit


def _emulation(node: Node, cache: Cache, tokens: int) -> Iterator[_Step]:
    """Instructions beside those of the banks."""
    heads, tile = int(node.attributes["heads"]), _selection(cache).tile
    for signed in (heads, cache.kv_heads):
        yield from [("vmap", "sign", 1, signed * cache.head_dim)] * 2
    yield from (("vmap", function, heads, tokens) for function in ("floor", "copy", "copy", "exp"))
    yield from (("vmin", "", heads, tokens), ("rmax", "", heads, tokens), ("rsum", "", heads, tokens))
    for rows, length, times in ((ceil(tokens / tile), tile, heads), (heads, tokens, 1)):
        chosen = (("kselect", "", rows, length), ("vmap", "from_int", rows, length), ("vadd", "", rows, length))
        yield from chosen * times


def _selection(cache: Cache) -> BinaryKeys:
    selection = searching(cache)
    assert selection is not None
    return selection
