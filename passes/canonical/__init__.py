"""Rules of the pass `canonicalize`."""
