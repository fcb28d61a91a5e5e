"""Instruction-level simulation: outputs, cycles and energy from one execution."""
