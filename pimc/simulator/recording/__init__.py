"""What happened when: recorded runs as command logs, tracks and curves."""
