"""The command line's frame: parse, limit, run the command, turn errors into messages and exit codes."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from pimc.parser import parse

_INTERNAL_ERROR = 70
_INTERRUPTED = 130
_RESOURCE_LIMIT = 6
_REFUSED = 1
_LONGEST_LINE = 2000
"""Characters of a line of a diagnostic."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        arguments: Words after the program's name; `None` takes those of the process.
    """
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as request:
        return request.code if isinstance(request.code, int) else 2
    try:
        code = _run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has what it wanted (`pimc disasm P.pim | head`); nothing more may be written to the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except Exception as problem:
        return _report(problem, options)
    return code


def _run(options: Namespace) -> int:
    if options.verbose:
        _log_to_stderr(options.verbose)
    limited: AbstractContextManager[None] = nullcontext()
    if options.mem_limit is not None or options.time_limit is not None:
        from pimc.limits import limit_memory, limit_time

        if options.mem_limit is not None:
            limit_memory(options.mem_limit)
        if options.time_limit is not None:
            limited = limit_time(options.time_limit)
    with limited:
        code: int = options.command.run(options)
        return code


def _log_to_stderr(verbosity: int) -> None:
    import logging

    level = logging.INFO if verbosity == 1 else logging.DEBUG
    logging.basicConfig(level=level, format="%(relativeCreated)7.0f ms  %(name)s: %(message)s", stream=sys.stderr)
    for chatty in ("numba", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _report(problem: Exception, options: Namespace) -> int:
    """Print the diagnostic of `problem` on stderr and return its exit code."""
    from isa import PimcError

    if isinstance(problem, PimcError):
        text, code = str(problem), problem.exit_code
    elif isinstance(problem, MemoryError):
        text, code = _out_of_memory(options), _RESOURCE_LIMIT
    elif isinstance(problem, OSError) and problem.filename is not None:
        text, code = f"{problem.filename}: error: {problem.strerror}", _REFUSED
    else:
        text, code = _internal_error(problem, options), _INTERNAL_ERROR
    for line in _printable(text).splitlines():
        shown = line if options.verbose else _clipped(line)
        print(_folded(shown) if sys.stderr.isatty() else shown, file=sys.stderr)
    return code


def _out_of_memory(options: Namespace) -> str:
    if options.mem_limit is None:
        return "error: not enough memory\nhelp: take a smaller model or a machine with more memory"
    return f"error: the limit of {options.mem_limit} bytes is not enough\nhelp: give more with --mem-limit"


def _internal_error(problem: Exception, options: Namespace) -> str:
    lines = [f"pimc: internal error: {type(problem).__name__}: {problem}"]
    if options.verbose:
        import traceback

        lines.insert(0, "".join(traceback.format_exception(problem)).rstrip())
        lines.append("help: this is a defect of pimc; please report it with the traceback above")
    else:
        lines.append("help: this is a defect of pimc; please report it with the traceback that -v prints")
    return "\n".join(lines)


def _clipped(line: str) -> str:
    """A line without what stands behind the longest that a person reads: names and lines of files may be huge."""
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} ... ({len(line):,} characters; -v: all)"


def _folded(line: str) -> str:
    """A note or a help broken between words at the width of the terminal; tables keep their lines."""
    if not line.startswith(("note: ", "help: ")) or "  " in line:
        return line
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns
    return textwrap.fill(line, width, subsequent_indent=" " * 6, break_long_words=False, break_on_hyphens=False)


def _printable(text: str) -> str:
    """`text` with control characters of model and file names made visible, so that they cannot drive the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
