"""Traces of published simulators, each with that simulator's controller."""
