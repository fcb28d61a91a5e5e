"""The compiled engine of runs without data."""
