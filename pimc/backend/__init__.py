"""Graph -> Program: placement of KV caches, lowering, buffer allocation, emission."""

from pimc.backend.options import ProgramOptions
from pimc.backend.program_builder import build_program

__all__ = ["ProgramOptions", "build_program"]
