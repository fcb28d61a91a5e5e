"""Attention over a KV cache in the banks, and the table of all places where a cache can lie."""
