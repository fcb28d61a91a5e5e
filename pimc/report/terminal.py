"""Printing on the terminal: aligned tables on stdout, notes and progress on stderr, JSON."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from textwrap import TextWrapper
from typing import IO, Any

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table
from rich.text import Text

LINE_WIDTH = 100
_GAP, _NARROWEST = 2, 14
"""Columns of running text; of tables too where no terminal says how wide it is, in a file or a pipe."""


class Terminal:
    """Where a command writes: results to stdout, notes and progress to stderr."""

    def __init__(self, color: str = "auto", quiet: bool = False) -> None:
        """Decide about colours once.

        Args:
            color: `auto`, `always` or `never`.
            quiet: Whether notes and progress are left out.
        """
        self.quiet = quiet
        self.out = _console(sys.stdout, color)
        self.err = _console(sys.stderr, color)

    def line(self, text: str = "") -> None:
        """One line of the result."""
        self.out.print(_plain(text), soft_wrap=True)

    def paragraph(self, text: str, indent: str = "") -> None:
        """Running text of the result, broken between words at the width of the terminal; further lines are indented."""
        further = f"{indent}  "
        wrapper = TextWrapper(self.out.width, indent, further, break_long_words=False, break_on_hyphens=False)
        for line in wrapper.wrap(text):
            self.line(line)

    def note(self, text: str) -> None:
        """One line for people only, on stderr; nothing when quiet."""
        if not self.quiet:
            self.err.print(_plain(text), soft_wrap=True)

    @contextmanager
    def status(self, text: str) -> Generator[Callable[[str], None]]:
        """Show on a terminal's stderr what is being done; yields the function that changes the text."""
        if self.quiet or not self.err.is_terminal:
            yield lambda _: None
            return
        with self.err.status(_plain(text)) as shown:
            yield lambda changed: shown.update(_plain(changed))

    @contextmanager
    def progress(self, text: str, total: int) -> Generator[Callable[[int, str], None]]:
        """Show a bar on a terminal's stderr.

        Args:
            text: What is being done first.
            total: Steps of the whole work.

        Yields:
            The function that takes the number of steps done since its last call, and what is being done.
        """
        if self.quiet or not self.err.is_terminal:
            yield lambda _done, _text: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.err, transient=True) as bar:
            task = bar.add_task(escape(_plain(text).plain), total=total)
            yield lambda done, now: bar.update(task, advance=done, description=escape(_plain(now).plain))

    def table(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()
    ) -> None:
        """A table of the result; columns named in `right` are aligned to the right.

        When it is too wide for the terminal, the last column that is aligned to the left gets several lines: broken
        behind punctuation where it is the only one (names beside figures), else as prose. The others stay whole if
        that leaves it room, the first one (what a row is about) in any case; names of more than half a line are
        broken behind points and underscores then.
        """
        table = Table(title=title or None, title_justify="left", title_style="bold", box=None, header_style="dim")
        table.padding = (0, _GAP, 0, 0)
        cells = [tuple(row) for row in rows]
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        left = [index for index, column in enumerate(columns) if column not in right]
        flexible = left[-1] if left else None
        rest = self.out.width - _GAP * len(columns) - sum(w for index, w in enumerate(widths) if index != flexible)
        half = self.out.width // 2
        if rest < _NARROWEST and flexible != 0:
            cells = [(_broken(row[0], half, "._"), *row[1:]) for row in cells]
        names = (line for row in cells for line in row[0].splitlines())
        first_stays = rest >= _NARROWEST or max(map(len, names), default=0) <= half
        for index, column in enumerate(columns):
            stays = index != flexible and (rest >= _NARROWEST or (index == 0 and first_stays))
            justify: JustifyMethod = "right" if column in right else "left"
            table.add_column(column, justify=justify, overflow="fold", no_wrap=stays)
        for row in cells:
            broken = [
                _broken(cell, max(rest, _NARROWEST)) if index == flexible else cell for index, cell in enumerate(row)
            ]
            table.add_row(*map(_plain, broken if len(left) == 1 else row))
        self._print(table)

    def facts(self, title: str, pairs: Iterable[tuple[str, str]]) -> None:
        """A title and below it names with their values."""
        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(overflow="fold")
        for name, value in pairs:
            table.add_row(_plain(f"  {name}"), _plain(value))
        if title:
            self.out.print(Text(title, style="bold"))
        self._print(table)

    def _print(self, table: Table) -> None:
        """Print a table without the blanks that fill up its last column."""
        with self.out.capture() as captured:
            self.out.print(table)
        for line in captured.get().splitlines():
            self.out.out(line.rstrip(), highlight=False)


def _broken(text: str, room: int, behind: str = ",;/+") -> str:
    """Lines of at most `room` characters, ended behind blanks and the characters of `behind` where there are some."""
    if len(text) <= room:
        return text
    lines = [""]
    for part in re.findall(rf"[^\s{behind}]*[\s{behind}]*", text):
        if lines[-1] and len(lines[-1] + part.rstrip()) > room:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def print_json(value: Any) -> None:
    """`value` as indented JSON on stdout."""
    print(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


def _console(stream: IO[str], color: str) -> Console:
    width = None if stream.isatty() or "COLUMNS" in os.environ else LINE_WIDTH
    return Console(
        file=stream,
        width=width,
        force_terminal=True if color == "always" else None,
        no_color=True if color == "never" else None,
        highlight=False,
        markup=False,
        emoji=False,
    )


def _plain(text: str) -> Text:
    """`text` without the control characters that a model's names could drive the terminal with."""
    return Text("".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text))
