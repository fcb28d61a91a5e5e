"""No figure of ours is a constant: with other machines every row is another one, but for what no machine decides."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.reproduce import SYSTEMS, rows_of

pytestmark = pytest.mark.soak

ROOT = Path(__file__).parents[2]
FUNCTIONS = ("recall", "KV traffic cut against INT8", "writes of keys and values against X")
"""What claims are about that no time and no energy of a machine changes: what is found, stored and written."""

OTHER_MACHINES = """
import json, sys
from dataclasses import replace
from isa import machine_loader

validate, LARGEST = machine_loader._validate, 1_000_000


def other(value, path):
    if isinstance(value, dict):
        return {name: other(each, (*path, name)) for name, each in value.items()}
    if isinstance(value, float):
        return value * (1.1 if path[-1] == "clock_ns" else 1.3)
    if isinstance(value, int) and not isinstance(value, bool) and ("timing" in path or "cycle" in path[-1]):
        return min(value + max(1, value // 10), LARGEST)
    return value


machine_loader._validate = lambda file: validate(replace(file, data=other(dict(file.data), ())))
from benchmarks.reproduce import rows_of

json.dump([[row.claim, row.ours] for row in rows_of(sys.argv[1])], sys.stdout)
"""
"""Prints the rows of a system for machines that are slower and take more energy in everything."""


@pytest.mark.parametrize("system", SYSTEMS)
def test_rows_move_with_the_machine(system: str) -> None:
    command = [sys.executable, "-c", OTHER_MACHINES, system]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    rows = rows_of(system)
    pairs = list(zip(rows, json.loads(done.stdout), strict=True))
    assert all(row.claim == claim for row, (claim, _) in pairs)
    fixed = [row.claim for row, (_, other) in pairs if other == row.ours]
    assert fixed == [row.claim for row in rows if any(each in row.claim for each in FUNCTIONS)]
