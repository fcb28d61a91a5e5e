"""Graph -> Program: placement of KV caches, lowering, buffer allocation, emission."""

from pimc.backend.cam.program import build_cam_program
from pimc.backend.crossbar import CrossbarOptions, build_crossbar_program
from pimc.backend.digital_cim import CimLayer, DeclaredCache, LayerNumbers, Workload, build_cim_layer, cim_layers
from pimc.backend.entry_builder import Stage
from pimc.backend.options import ProgramOptions
from pimc.backend.program_builder import build_program, build_stages

__all__ = [
    "CimLayer",
    "CrossbarOptions",
    "DeclaredCache",
    "LayerNumbers",
    "ProgramOptions",
    "Stage",
    "Workload",
    "build_cam_program",
    "build_cim_layer",
    "build_crossbar_program",
    "build_program",
    "build_stages",
    "cim_layers",
]
