"""What instructions touch, and the checks of their bounds."""
