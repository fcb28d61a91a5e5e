"""Which nodes work row by row, and the phases that follow from it."""
