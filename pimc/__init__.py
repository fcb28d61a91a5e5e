"""Compiler and instruction-level simulator for transformers on processing-in-memory hardware.

Example:
    >>> program = pimc.compile("model.onnx", machine="gddr6-aim")
    >>> run = pimc.simulate(program, {"input_ids": tokens})
    >>> run.outputs["logits"], run.stats["time_s"], run.stats["energy_j"]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isa import Machine, PimcError, Program, load_machine
    from pimc.api import Run, compile, simulate, verify
    from pimc.verification import Verification

__version__ = "0.1.0"

_LAZY = {
    "Machine": "isa",
    "PimcError": "isa",
    "Program": "isa",
    "Run": "pimc.api",
    "Verification": "pimc.verification",
    "compile": "pimc.api",
    "load_machine": "isa",
    "simulate": "pimc.api",
    "verify": "pimc.api",
}
"""Public names and their modules, which load at the first use: `pimc --help` must not wait for numpy."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'pimc' has no attribute '{name}'")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = [
    "Machine",
    "PimcError",
    "Program",
    "Run",
    "Verification",
    "__version__",
    "compile",
    "load_machine",
    "simulate",
    "verify",
]
