"""Kernels of the published HBM-PIM simulator."""
