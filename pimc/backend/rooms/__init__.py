"""Rooms: where values, constants and caches lie in the shared buffer and the banks, and for how long."""
