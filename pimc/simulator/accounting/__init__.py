"""From counts to statistics: energy, lower bounds, sums."""
