"""What a machine holds while a program runs, and how it may fail."""
