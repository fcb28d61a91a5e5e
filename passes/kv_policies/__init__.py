"""Policies that compress the KV cache, one file each, and the few mechanisms that they choose from."""
