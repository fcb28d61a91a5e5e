"""Units that blocks can run on: what they can hold, and estimates of time and energy by which they are chosen."""
