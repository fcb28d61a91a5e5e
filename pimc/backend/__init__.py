"""Graph -> Program: placement of KV caches, lowering, buffer allocation, emission."""

from pimc.backend.program_builder import ProgramOptions, build_program

__all__ = ["ProgramOptions", "build_program"]
