"""How benchmarks end: as `pimc` does, with a message and an exit code instead of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from isa import PimcError

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def end_with(main: Callable[[], int | None]) -> NoReturn:
    """Run a benchmark and leave with its exit code, or with that of what refused or interrupted it."""
    try:
        code = main()
    except PimcError as problem:
        print(problem, file=sys.stderr)
        code = problem.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    sys.exit(code)
