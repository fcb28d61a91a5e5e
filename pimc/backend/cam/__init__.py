"""Graph -> Program for machines whose attention is a search in an associative memory."""
