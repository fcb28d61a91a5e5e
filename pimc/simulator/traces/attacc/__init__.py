"""Traces of the published AttAcc simulator."""
