"""Code of operations: on the vector unit, and of products and lookups near the banks."""
