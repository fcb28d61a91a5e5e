"""What a graph computes, in numpy: the oracle of passes and programs."""
