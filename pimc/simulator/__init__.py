"""Instruction-level simulation: outputs, cycles and energy from one execution."""

from pimc.simulator.aim_export import aim_isr_lines
from pimc.simulator.kernel_cache import KERNEL_FOLDER
from pimc.simulator.power import Curves, curves
from pimc.simulator.recorder import Recording
from pimc.simulator.run_log import write_recorded_log
from pimc.simulator.session import Session
from pimc.simulator.simulator import Simulator
from pimc.simulator.stats import (
    CacheStatistics,
    InstructionStatistics,
    NodeStatistics,
    Statistics,
    total,
)
from pimc.simulator.timeline import Timeline, Track, timeline
from pimc.simulator.trace_files import TraceStatistics, simulate_trace

__all__ = [
    "KERNEL_FOLDER",
    "CacheStatistics",
    "Curves",
    "InstructionStatistics",
    "NodeStatistics",
    "Recording",
    "Session",
    "Simulator",
    "Statistics",
    "Timeline",
    "TraceStatistics",
    "Track",
    "aim_isr_lines",
    "curves",
    "simulate_trace",
    "timeline",
    "total",
    "write_recorded_log",
]
