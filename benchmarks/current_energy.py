"""Energy of DRAM commands from the currents of a data sheet, as DRAMsim3 computes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CurrentEnergy:
    """Energies of a rank; in DRAMsim3's unit, V x mA x cycles, which is 1 pJ where a cycle takes 1 ns.

    Attributes:
        activate: Opening and closing a row: VDD (IDD0 tRC - IDD3N tRAS - IDD2N tRP).
        read: A read burst: VDD (IDD4R - IDD3N) burst.
        write: A write burst: VDD (IDD4W - IDD3N) burst.
        refresh: A refresh of all banks: VDD (IDD5AB - IDD3N) tRFC.
        active_cycle: A cycle with an open row: VDD IDD3N.
        closed_cycle: A cycle without: VDD IDD2N.
    """

    activate: float
    read: float
    write: float
    refresh: float
    active_cycle: float
    closed_cycle: float


def current_energy(sheet: Mapping[str, float]) -> CurrentEnergy:
    """Energies by the formulas of DRAMsim3's configuration.cc.

    Args:
        sheet: Voltage, currents, timings, devices, under the names of `tests/golden/dramsim3/currents.json`.
    """
    scale = sheet["VDD_v"] * sheet["devices"]
    opened = sheet["IDD0_ma"] * (sheet["tRAS"] + sheet["tRP"])
    background = sheet["IDD3N_ma"] * sheet["tRAS"] + sheet["IDD2N_ma"] * sheet["tRP"]
    return CurrentEnergy(
        activate=scale * (opened - background),
        read=scale * (sheet["IDD4R_ma"] - sheet["IDD3N_ma"]) * sheet["burst"],
        write=scale * (sheet["IDD4W_ma"] - sheet["IDD3N_ma"]) * sheet["burst"],
        refresh=scale * (sheet["IDD5AB_ma"] - sheet["IDD3N_ma"]) * sheet["tRFC"],
        active_cycle=scale * sheet["IDD3N_ma"],
        closed_cycle=scale * sheet["IDD2N_ma"],
    )
