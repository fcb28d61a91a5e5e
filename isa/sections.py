"""Whether the sections of a program are well formed and fit a machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from isa.host_layouts import host_machine_errors
from isa.program import Program
from isa.structure import structure_errors

if TYPE_CHECKING:
    from isa.machine import Machine


def section_errors(program: Program, machine: Machine) -> list[str]:
    """Everything that is wrong with the sections of a program on `machine`; the code is not looked at."""
    wrong = structure_errors(program)
    found = [*wrong, *_extent_errors(program, machine)]
    if machine.near_bank is not None and not wrong:
        found += host_machine_errors(program, machine.near_bank)
    return found


def _extent_errors(program: Program, machine: Machine) -> Iterator[str]:
    device = machine.near_bank
    sizes = {"sb": machine.shared_buffer.capacity_words}
    if device is not None:
        sizes |= {"bank": device.columns_per_bank, "gb": device.global_buffer_columns, "acc": device.accumulators}
    if machine.crossbar is not None:
        sizes["xb"] = machine.crossbar.groups * machine.crossbar.columns
    if machine.cam is not None:
        sizes |= {"key": machine.cam.keys, "value": machine.cam.values}
    for kind, named in (("region", program.regions), ("symbol", program.symbols)):
        for each in named:
            if each.space not in sizes:
                yield f"{kind} '{each.name}' lies in space {each.space}, which the machine '{machine.name}' lacks"
            elif each.address + each.size > sizes[each.space]:
                end, last = each.address + each.size - 1, sizes[each.space] - 1
                yield f"{kind} '{each.name}' ends at {end} of space {each.space}, which has 0 to {last}"
    regions = {region.name: region for region in program.regions}
    for segment in program.segments:
        region = regions.get(segment.region)
        if device is None or region is None or region.space != "bank":
            continue
        shape = (device.channels, device.banks, region.size * device.lanes)
        if segment.data.shape != shape:
            yield f"segment '{region.name}' has the shape {list(segment.data.shape)}, the machine needs {list(shape)}"
