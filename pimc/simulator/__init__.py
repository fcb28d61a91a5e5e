"""Instruction-level simulation: outputs, cycles and energy from one execution."""

from pimc.simulator.kernel_cache import KERNEL_FOLDER
from pimc.simulator.session import Session
from pimc.simulator.simulator import Simulator
from pimc.simulator.stats import (
    CacheStatistics,
    InstructionStatistics,
    NodeStatistics,
    Statistics,
    total,
)
from pimc.simulator.trace_files import TraceStatistics, simulate_trace

__all__ = [
    "KERNEL_FOLDER",
    "CacheStatistics",
    "InstructionStatistics",
    "NodeStatistics",
    "Session",
    "Simulator",
    "Statistics",
    "TraceStatistics",
    "simulate_trace",
    "total",
]
