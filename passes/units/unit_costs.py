"""What a block costs on each unit: estimates for one token, from the numbers of the machine file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from isa import Crossbar, Machine, NearBank, register_visit_cycles, row_overhead_cycles
from passes.ir import Cache, Node, Value
from passes.matrix_layout import best_layout, product_cycles

_BINARY32 = 4


@dataclass(frozen=True)
class BlockCost:
    """Cost of a block for one token.

    Attributes:
        time_ns: How long its unit works.
        energy_pj: What it takes, without standby and leakage.
        groups: Groups of arrays that it occupies.
        keys: Keys that it holds in the associative memory.
    """

    time_ns: float
    energy_pj: float
    groups: int = 0
    keys: int = 0

    def __str__(self) -> str:
        groups = "1 group" if self.groups == 1 else f"{self.groups} groups"
        held = f", {groups} of arrays" if self.groups else f", {self.keys:,} keys" if self.keys else ""
        return f"{self.time_ns:,.0f} ns, {self.energy_pj / 1000:,.1f} nJ{held}"


def matrices_of(node: Node) -> list[tuple[int, int]]:
    """(inputs, outputs) of the products of a `linear` or `feed_forward`; a gate goes with the matrix beside it."""
    if node.op == "linear":
        return [_shape(node.operand(1))]
    up, gate = _shape(node.operand(1)), node.optional(3)
    return [(up[0], up[1] + (0 if gate is None else _shape(gate)[1])), _shape(node.operand(5))]


def _shape(weight: Value) -> tuple[int, int]:
    inputs, outputs = (int(str(dim)) for dim in weight.shape)
    return inputs, outputs


def products_in_banks(machine: Machine, shapes: Sequence[tuple[int, int]]) -> BlockCost:
    """Every matrix is read once: MACs in all banks, rows opened, columns of the global buffer, accumulators."""
    near_bank = _near_bank(machine)
    energy, cycles = near_bank.energy, 0
    picojoules = 0.0
    for inputs, outputs in shapes:
        layout = best_layout(machine, inputs, outputs)
        cycles += product_cycles(machine, layout)
        rows = ceil(layout.columns / near_bank.columns_per_row)
        channel = layout.columns * (energy.mac_all_banks_pj + energy.global_buffer_read_pj)
        channel += rows * near_bank.banks * energy.activate_pj_per_bank
        channel += layout.slice_columns * energy.global_buffer_write_pj
        channel += 2 * layout.bank_outputs * energy.accumulator_access_pj
        picojoules += near_bank.channels * channel + _pins_pj(
            near_bank, layout.padded_inputs // 2 + layout.padded_outputs
        )
    return BlockCost(cycles * machine.clock_ns, picojoules)


def _pins_pj(near_bank: NearBank, words: int) -> float:
    return words * _BINARY32 * 8 * near_bank.energy.dq_pj_per_bit


def products_in_arrays(machine: Machine, shapes: Sequence[tuple[int, int]]) -> BlockCost:
    """Tiles beside each other work at the same time, those that add to the same outputs one after the other."""
    crossbar = _crossbar(machine)
    cycles, groups, picojoules = 0, 0, 0.0
    for inputs, outputs in shapes:
        deep, wide = ceil(inputs / crossbar.rows), ceil(outputs / crossbar.columns)
        cycles += deep * crossbar.vector_cycles
        groups += deep * wide
        picojoules += _vectors_pj(machine, inputs, outputs)
    return BlockCost(cycles * machine.clock_ns, picojoules, groups)


def _vectors_pj(machine: Machine, inputs: int, outputs: int) -> float:
    """Energy of a vector through arrays: every output of every array along the inputs, and the words of the buffer."""
    crossbar, buffer = _crossbar(machine), machine.shared_buffer
    arrays = ceil(inputs / crossbar.array_rows)
    each = sum(crossbar.energies_pj("xmvm", "").values())
    return arrays * outputs * each + inputs * buffer.read_energy_pj_per_word + outputs * buffer.write_energy_pj_per_word


def attention_in_banks(machine: Machine, node: Node, cache: Cache, tokens: int) -> BlockCost:
    """Scores and mixing over `tokens` tokens: each query head's MACs, spread over all channels."""
    near_bank = _near_bank(machine)
    energy, heads = near_bank.energy, int(node.attributes["heads"])
    covered = near_bank.banks * near_bank.lanes
    steps = heads * ceil(tokens * (cache.head_dim + cache.value_dim) / covered)
    columns = ceil(steps / near_bank.channels)
    rows = 2 * ceil(columns / near_bank.columns_per_row)
    visits = 2 * register_visit_cycles(machine, ceil(columns / 2), heads, heads)
    cycles = near_bank.timing.nCCDL * columns + rows * row_overhead_cycles(machine) + visits
    picojoules = steps * energy.mac_all_banks_pj
    picojoules += near_bank.channels * rows * near_bank.banks * energy.activate_pj_per_bank
    picojoules += _pins_pj(near_bank, 2 * heads * tokens)
    return BlockCost(cycles * machine.clock_ns, picojoules)


def attention_in_arrays(machine: Machine, node: Node, cache: Cache, tokens: int) -> BlockCost:
    """A key and a value are written, unless they are there; then queries and weights pass their key head's arrays."""
    crossbar, heads = _crossbar(machine), int(node.attributes["heads"])
    is_given = node.optional(1) is None
    is_shared = not is_given and node.operand(1) is node.operand(2)
    cycles = 2 * heads // cache.kv_heads * crossbar.vector_cycles
    picojoules = heads * (_vectors_pj(machine, cache.head_dim, tokens) + _vectors_pj(machine, tokens, cache.value_dim))
    if not is_given:
        written = cache.kv_heads * (cache.head_dim + (0 if is_shared else cache.value_dim))
        cycles += crossbar.write_cycles
        picojoules += written * sum(crossbar.energies_pj("xprog", "").values())
    groups = cache.kv_heads * ceil(tokens / crossbar.columns) * (1 if is_shared else 2)
    return BlockCost(cycles * machine.clock_ns, picojoules, groups)


def static_mw(machine: Machine) -> float:
    """Power that flows whatever runs: standby of the banks and leakage."""
    near_bank = machine.near_bank
    standby = 0.0 if near_bank is None else near_bank.channels * near_bank.energy.background_precharged_mw
    return standby + machine.shared_buffer.leakage_mw + machine.vector_unit.leakage_mw


def _near_bank(machine: Machine) -> NearBank:
    assert machine.near_bank is not None
    return machine.near_bank


def _crossbar(machine: Machine) -> Crossbar:
    assert machine.crossbar is not None
    return machine.crossbar
