"""Instruction-level simulation: outputs, cycles and energy from one execution."""

from pimc.simulator.accounting.cell_wear import CellWear
from pimc.simulator.accounting.layer_pipeline import ScaledModel
from pimc.simulator.accounting.stats import (
    CacheStatistics,
    InstructionStatistics,
    NodeStatistics,
    Statistics,
    total,
)
from pimc.simulator.core_chain import ChainRun, ChainStep, CoreChain
from pimc.simulator.host.session import Session
from pimc.simulator.kernel_cache import KERNEL_FOLDER
from pimc.simulator.recording.power import Curves, curves
from pimc.simulator.recording.recorder import Recording
from pimc.simulator.recording.run_log import write_recorded_log
from pimc.simulator.recording.timeline import Timeline, Track, timeline
from pimc.simulator.simulator import Simulator
from pimc.simulator.traces.aim.export import aim_isr_lines
from pimc.simulator.traces.trace_files import TraceStatistics, simulate_trace, trace_timeline

__all__ = [
    "KERNEL_FOLDER",
    "CacheStatistics",
    "CellWear",
    "ChainRun",
    "ChainStep",
    "CoreChain",
    "Curves",
    "InstructionStatistics",
    "NodeStatistics",
    "Recording",
    "ScaledModel",
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
    "trace_timeline",
    "write_recorded_log",
]
