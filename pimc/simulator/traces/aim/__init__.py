"""Traces of the published AiM simulator: their text, their controllers, and our programs as such traces."""
