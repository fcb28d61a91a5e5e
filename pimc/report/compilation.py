"""What a compilation made: entries, code, memory, what was fused; time of the passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from isa import Machine, Program
from passes import Finding, Graph, PassReport, explain
from pimc.report.fusion import print_unfused, unfused_facts
from pimc.report.policies import compression_rows
from pimc.report.quantities import count
from pimc.report.terminal import Terminal
from pimc.report.units import unit_rows

_SHOWN_NODES = 3
"""Nodes of each reason why something was not fused."""


def print_compilation(terminal: Terminal, program: Program, machine: Machine, graphs: Sequence[Graph]) -> None:
    """A short summary of a fresh program; `graphs` are what the passes left of each model."""
    entries = ", ".join(f"{entry.name} ({', '.join(entry.registers)})" for entry in program.entries.values())
    facts = [
        ("machine", f"{program.machine}, numerics {program.numerics}"),
        ("entries", entries),
        ("code", f"{count(len(program.code))} instructions of 32 bytes"),
        ("context", f"up to {program.metadata['max_context']} tokens"),
        *memory_rows(program, machine),
    ]
    facts += unit_rows(program)
    findings = _findings(graphs)
    facts.append(("fused", _fused_text(findings) or "nothing"))
    facts += compression_rows(findings)
    terminal.facts("", facts)
    print_unfused(terminal, findings, _SHOWN_NODES)


def _findings(graphs: Sequence[Graph]) -> list[Finding]:
    """What the passes found in all graphs."""
    return [finding for graph in graphs for finding in explain(graph)]


def _fused_text(findings: Iterable[Finding]) -> str:
    """What each pass fused: "norm 5 rms_norm, linear 15 linear"."""
    by_pass: dict[str, Counter[str]] = {}
    for each in findings:
        if each.fused and each.pass_name != "kv_compression":
            by_pass.setdefault(each.pass_name.removeprefix("fuse_"), Counter())[each.pattern] += each.fused
    return "; ".join(
        f"{name}: {', '.join(f'{number} {pattern}' for pattern, number in counts.items())}"
        for name, counts in by_pass.items()
    )


_SPACES = {
    "bank": ("banks", "columns of every bank"),
    "sb": ("buffer", "words of the shared buffer"),
    "xb": ("arrays", "columns of groups of arrays"),
}
"""What to call a memory space, and what its sizes count."""


def memory_rows(program: Program, machine: Machine | None) -> list[tuple[str, str]]:
    """For each memory space how much of it the regions take, by role."""
    capacity = space_capacity(machine) if machine is not None else {}
    rows: list[tuple[str, str]] = []
    for space, (name, unit) in _SPACES.items():
        sizes: dict[str, int] = {}
        for region in program.regions:
            role = "weights" if space == "xb" and region.role == "scratch" else region.role
            if region.space == space and role != "scratch":
                sizes[role] = sizes.get(role, 0) + region.size
        total, whole = sum(sizes.values()), capacity.get(space)
        full = f" of {count(whole)} ({100 * total / whole:.1f} % full)" if whole else ""
        parts = ", ".join(f"{role} {count(size)}" for role, size in sizes.items())
        held = f": {parts}" if parts else ""
        if whole is not None or space != "xb":
            rows.append((name, f"{count(total)}{full} {unit}{held}"))
    return rows


def space_capacity(machine: Machine) -> dict[str, int]:
    """Columns of a bank, words of the shared buffer, columns of all groups of arrays."""
    capacity = {"sb": machine.shared_buffer.capacity_words}
    if machine.crossbar is not None:
        capacity["xb"] = machine.crossbar.groups * machine.crossbar.columns
    return capacity | ({"bank": machine.near_bank.columns_per_bank} if machine.near_bank else {})


def compilation_facts(program: Program, graphs: Sequence[Graph]) -> dict[str, Any]:
    """The summary as JSON values."""
    findings = _findings(graphs)
    return {
        "machine": program.machine,
        "numerics": program.numerics,
        "entries": {entry.name: list(entry.registers) for entry in program.entries.values()},
        "instructions": len(program.code),
        "metadata": dict(program.metadata),
        "regions": [
            {"name": r.name, "space": r.space, "address": r.address, "size": r.size, "role": r.role}
            for r in program.regions
        ],
        "fused": [{"pass": each.pass_name, "pattern": each.pattern, "count": each.fused} for each in findings],
        "unfused": unfused_facts(findings),
    }


def print_pass_times(terminal: Terminal, reports: Sequence[PassReport]) -> None:
    """Time and effect of every pass, as notes."""
    total = sum(report.run_seconds + report.verify_seconds for report in reports)
    for report in reports:
        effect = f"{report.nodes_before} -> {report.nodes_after} nodes" if report.changed else "no change"
        run_ms, verify_ms = 1e3 * report.run_seconds, 1e3 * report.verify_seconds
        terminal.note(f"{report.name:<24}{run_ms:9.1f} ms  verify {verify_ms:7.1f} ms  {effect}")
    terminal.note(f"{'total':<24}{1e3 * total:9.1f} ms")
