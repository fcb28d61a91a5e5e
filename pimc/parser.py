"""The command line's grammar: global options, subcommands, suggestions for misspelt words."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import NoReturn

from pimc import __version__
from pimc.commands import COMMANDS

_EXIT_CODES = """\
exit codes:
  0 ok   1 input refused   2 usage   3 outputs differ from the reference   4 unsupported operator or feature
  5 optional package missing   6 resource limit   70 internal error   130 interrupted"""

_GLOBAL_NOTE = "'pimc --help' lists the global options: -q -v --json --color --seed --mem-limit --time-limit"
_FLAG = r"(?<![\w-])--?[a-zA-Z][\w-]*"
_DEFAULTS = {
    "quiet": False,
    "verbose": 0,
    "json": False,
    "color": "auto",
    "seed": 0,
    "mem_limit": None,
    "time_limit": None,
}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Options of a command line; `options.command` is the `Command` to run.

    Raises:
        SystemExit: 0 after `--help` or `--version`, 2 on wrong usage (the message is already on stderr).
    """
    parser = _build_parser()
    options, unknown = parser.parse_known_args(arguments)
    if getattr(options, "command", None) is None:
        parser.print_help()
        raise SystemExit(2)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    for name, default in _DEFAULTS.items():
        if not hasattr(options, name):
            setattr(options, name, default)
    return options


class _Parser(argparse.ArgumentParser):
    """An argument parser that says what was probably meant."""

    def error(self, message: str) -> NoReturn:
        message = message.replace("argument COMMAND: invalid choice", "unknown command")
        message = re.sub(r" \(choose from .*\)$", "", message) if message.startswith("unknown command") else message
        lines = [f"{self.prog}: error: {message}"]
        meant = self._meant(message)
        lines.append(f"help: did you mean '{meant}'?" if meant else f"help: '{self.prog} --help' lists what there is")
        self.exit(2, "\n".join(lines) + "\n")

    def _meant(self, message: str) -> str | None:
        """The allowed word that is closest to the one that `message` complains about."""
        if match := re.match(r"unknown command: '([^']*)'", message):
            words, allowed = [match[1]], [command.name for command in COMMANDS]
        elif match := re.match(r"unrecognized arguments: (.*)", message):
            words = [word.partition("=")[0] for word in match[1].split() if word.startswith("-")]
            allowed = re.findall(_FLAG, self.format_help() + _global_options(is_shown=True).format_help())
        else:
            return None
        close = [found for word in words for found in difflib.get_close_matches(word, allowed, 1)]
        return close[0] if close else None


def _build_parser() -> _Parser:
    parser = _Parser(
        prog="pimc",
        usage="pimc [options] COMMAND ...",
        description="Compiles transformer models (ONNX) to programs for processing-in-memory hardware and runs them\n"
        "on an instruction-level simulator that gives outputs, cycles and joules.",
        epilog=_EXIT_CODES,
        parents=[_global_options(is_shown=True)],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pimc {__version__}")
    _add_commands(parser, _global_options(is_shown=False))
    return parser


def _add_commands(parser: _Parser, general: _Parser) -> None:
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", prog="pimc", parser_class=_Parser)
    for command in COMMANDS:
        own = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.description,
            epilog="\n".join(["examples:", *(f"  {example}" for example in command.examples), "", _GLOBAL_NOTE]),
            parents=[general],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(own)
        own.set_defaults(command=command, parser=own)


def _global_options(is_shown: bool) -> _Parser:
    """Parent of every parser; the help of commands does not repeat it."""
    parser = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    group = parser.add_argument_group("global options (before or after the command)")

    def shown(text: str) -> str:
        return text if is_shown else argparse.SUPPRESS

    group.add_argument("-q", "--quiet", action="store_true", help=shown("no progress and no notes on stderr"))
    verbose = shown("log the steps on stderr; tracebacks of internal errors")
    group.add_argument("-v", "--verbose", action="count", help=verbose)
    group.add_argument("--json", action="store_true", help=shown("result as JSON on stdout"))
    colors = shown("colours (default auto, obeys NO_COLOR)")
    group.add_argument("--color", choices=("auto", "always", "never"), help=colors)
    group.add_argument("--seed", type=int, metavar="N", help=shown("seed of everything random (default 0)"))
    memory = shown("stop with exit code 6 above this, e.g. 2G")
    group.add_argument("--mem-limit", type=_bytes, metavar="SIZE", help=memory)
    time = shown("stop with exit code 6 after this, e.g. 90s")
    group.add_argument("--time-limit", type=_seconds, metavar="TIME", help=time)
    return parser


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text, re.IGNORECASE)
    if not match or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size such as 500M or 2G")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", text, re.IGNORECASE)
    if not match or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a time such as 90s or 5m")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2].lower()]
