"""Programs as text: assembler, disassembler, and the grammar of `.pimasm`."""
