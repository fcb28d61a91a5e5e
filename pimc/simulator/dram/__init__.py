"""Command timing of DRAM channels: rules, refresh, the in-order controller, its closed forms."""
