"""Each figure of the references beside ours."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.current_energy import current_energy
from isa import Machine, load_machine
from pimc.simulator import simulate_trace

FOLDER = Path(__file__).parents[1] / "tests" / "golden"
_UNITS = ("dram_activation", "dram_read", "dram_write", "dram_compute", "dram_interface")
_AIM_ENERGIES = ("E_act_pre_nJ", "E_rd_nJ", "E_wr_nJ", "E_pim_nJ", "E_dq_nJ")
_CENT_ENERGIES = ("ACT/PRE", "RD", "WR", "PIM", "DQ")
_PRINTED_NJ, _PRINTED_MJ = 0.5e-4 * 5, 0.5e-6 * 5
"""What rounding can make of the sum of five printed energies."""


@dataclass(frozen=True)
class Row:
    """One quantity.

    Attributes:
        source: Whose figures.
        file: Trace or kernel.
        quantity: What is compared.
        reference: The published simulator's figure.
        ours: Ours.
        bar: Largest relative difference that is accepted.
        rounding: Difference that the reference's printed digits explain.
        apart: For sums over several kinds, the sum of the differences of each; `None` for a single figure.
    """

    source: str
    file: str
    quantity: str
    reference: float
    ours: float
    bar: float
    rounding: float = 0.0
    apart: float | None = None

    @property
    def difference(self) -> float:
        """Relative to the reference; 0 within the rounding of the reference."""
        apart = abs(self.ours - self.reference) if self.apart is None else self.apart
        return 0.0 if apart <= self.rounding else apart / abs(self.reference) if self.reference else float("inf")


def all_rows() -> Iterator[Row]:
    """Every quantity of all five sources."""
    yield from aim_rows()
    yield from cent_rows()
    yield from attacc_rows()
    yield from hbm_pim_rows()
    yield from dramsim3_rows()


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _counts(source: str, file: str, quantity: str, reference: Mapping[str, int], ours: Mapping[str, int]) -> Row:
    """All counts of a run in one row."""
    own = {key: ours.get(key, 0) for key in reference}
    apart = sum(abs(own[key] - count) for key, count in reference.items())
    return Row(source, file, quantity, sum(reference.values()), sum(own.values()), 0.0, apart=apart)


def aim_rows() -> Iterator[Row]:
    """45 traces of the AiM simulator."""
    machine = load_machine("gddr6-aim")
    for golden in _table(FOLDER / "aim" / "aim_golden.csv"):
        path = FOLDER / "aim" / f"{golden['name']}.trace"
        energy_nj = sum(float(golden[column]) for column in _AIM_ENERGIES)
        yield from _trace_rows("aim", path, golden, machine, 0.0, ("energy, nJ", energy_nj, 1e9, 1e-6, _PRINTED_NJ))


def cent_rows() -> Iterator[Row]:
    """Llama-2-7B blocks of CENT on the AiM simulator."""
    machine = load_machine("gddr6-aim")
    for golden in _table(FOLDER / "cent" / "llama2_7b_block_golden.csv"):
        path = FOLDER / "cent" / f"llama2_7b_block_8ch_seq{golden['seqlen']}.trace.gz"
        parts = json.loads(golden["energy_breakdown_mJ"])
        energy_mj = sum(parts[name] for name in _CENT_ENERGIES)
        yield from _trace_rows("cent", path, golden, machine, 1e-3, ("energy, mJ", energy_mj, 1e3, 1e-3, _PRINTED_MJ))


def _trace_rows(
    source: str,
    path: Path,
    golden: dict[str, str],
    machine: Machine,
    bar: float,
    energy: tuple[str, float, float, float, float],
) -> Iterator[Row]:
    found = simulate_trace(path, machine, compat=True)
    name = path.name.removesuffix(".gz").removesuffix(".trace")
    yield Row(source, name, "cycles", int(golden["cycles"]), found.cycles, bar)
    counts = {command: int(golden[command]) for command in found.commands if command in golden}
    yield _counts(source, name, "commands", counts, found.commands)
    title, reference, scale, energy_bar, rounding = energy
    ours = sum(found.energy_by_unit_j[unit] for unit in _UNITS) * scale
    yield Row(source, name, title, reference, ours, energy_bar, rounding)


def attacc_rows() -> Iterator[Row]:
    """Attention layers of AttAcc, both granularities, with and without the power limit."""
    from pimc.simulator.traces.attacc.frontend import run_attacc_trace
    from pimc.simulator.traces.attacc.streams import AttentionShape, attention_trace

    machines = {"bank": load_machine("hbm3-attacc"), "bg": load_machine("hbm3-attacc-bankgroup")}
    requests = ("mac_ab", "mac_sb", "mac_pb", "mvgb", "mvsb", "wrgb", "sfm")
    for golden in _table(FOLDER / "attacc" / "attacc_golden.csv"):
        machine = machines[golden["gran"]]
        shape = AttentionShape(*(int(golden[key]) for key in ("seqlen", "nhead", "dhead", "dbyte")))
        limit = golden["power_limit"] == "1"
        run = run_attacc_trace(attention_trace(machine, shape), machine, power_limit=limit)
        name = f"{golden['gran']} L{golden['seqlen']} {golden['nhead']} heads{'' if limit else ', no power limit'}"
        yield Row("attacc", name, "cycles", int(golden["cycles"]), run.cycles, 5e-3)
        counts = {key: int(golden[key]) for key in requests}
        ours = {key: run.command_counts[key.replace("_", "").upper()] for key in requests}
        yield _counts("attacc", name, "requests", counts, ours)


def hbm_pim_rows() -> Iterator[Row]:
    """Kernels of the HBM-PIM simulator."""
    from pimc.simulator.traces.hbm_pim.kernel_runs import run_hbm_pim_kernel

    machine = load_machine("hbm2-pim")
    for golden in _table(FOLDER / "hbmpim" / "hbmpim_golden.csv"):
        kernel, *sizes = golden["kernel"].split("_")
        run = run_hbm_pim_kernel(kernel, [int(size) for size in sizes], machine)  # type: ignore[arg-type]
        yield Row("hbmpim", golden["kernel"], "cycles", int(golden["pim_cycles"]), run.cycles, 0.05)
        counts = {key[4:]: int(text) for key, text in golden.items() if key[:4] == "pim_" and text}
        del counts["cycles"]
        if counts:
            yield _counts("hbmpim", golden["kernel"], "commands", counts, run.event_counts)


def dramsim3_rows() -> Iterator[Row]:
    """Energies of DRAMsim3's own runs, by its formulas from its currents and counts."""
    golden = json.loads((FOLDER / "dramsim3" / "dramsim3_golden.json").read_text())
    sheets = json.loads((FOLDER / "dramsim3" / "currents.json").read_text())
    for name, run in golden.items():
        energy = current_energy(sheets["_".join(name.split("_")[:3])])
        channel = run["channel0"]
        ours = {
            "act_energy": energy.activate * channel["num_act_cmds"],
            "read_energy": energy.read * channel["num_read_cmds"],
            "write_energy": energy.write * channel["num_write_cmds"],
            "ref_energy": energy.refresh * channel["num_ref_cmds"],
            "act_stb_energy": energy.active_cycle * channel["rank_active_cycles"]["0"],
            "pre_stb_energy": energy.closed_cycle * channel["all_bank_idle_cycles"]["0"],
        }
        for key, value in ours.items():
            printed = channel[key]
            reference = printed["0"] if isinstance(printed, dict) else printed
            yield Row("dramsim3", name, f"{key}, pJ", reference, value, 1e-9)
