"""What people and programs read: tables on the terminal, statistics as JSON."""
