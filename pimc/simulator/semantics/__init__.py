"""What instructions do: one function each, and the compiled kernels below them."""
