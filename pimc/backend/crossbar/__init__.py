"""Programs for machines whose crossbars hold matrices."""

from pimc.backend.crossbar.program import CrossbarOptions, build_crossbar_program

__all__ = ["CrossbarOptions", "build_crossbar_program"]
