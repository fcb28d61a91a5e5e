"""Makes the programs, traces and slow models beside this file importable from the tests in the folders below."""
