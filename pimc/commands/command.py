"""What a subcommand of the command line is."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Attributes:
        name: Word on the command line.
        summary: One line for `pimc --help`.
        description: Text above the options in `pimc NAME --help`.
        examples: Command lines below the options.
        add_arguments: Declares the options; must import nothing heavy.
        run: Does the work and returns the exit code; heavy imports belong in its body.
    """

    name: str
    summary: str
    description: str
    examples: tuple[str, ...]
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
