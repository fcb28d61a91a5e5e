"""The plain engine: decodes a program and runs function and timing together, instruction by instruction."""
