"""Observers of a compilation: print graphs, write them to a folder, keep what the passes reported."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from isa import InputError, Place
from passes import PASSES, Graph, PassReport, print_graph
from pimc.files import write_text

_LOG = logging.getLogger(__name__)


@dataclass
class Record:
    """Keeps the reports of all passes and the graphs that they left.

    Attributes:
        show: Gets one line about the progress after every pass.
        reports: In the order in which the passes ran.
        graphs: The graph of every model, in the order of compilation.
    """

    show: Callable[[str], None] = field(default=lambda _: None)
    reports: list[PassReport] = field(default_factory=list[PassReport])
    graphs: list[Graph] = field(default_factory=list[Graph])

    def __call__(self, report: PassReport, graph: Graph) -> None:
        """Keep one report, log it, show it."""
        self.reports.append(report)
        if all(graph is not other for other in self.graphs):
            self.graphs.append(graph)
        milliseconds = 1e3 * (report.run_seconds + report.verify_seconds)
        _LOG.info("%s: %d nodes, %.1f ms", report.name, report.nodes_after, milliseconds)
        self.show(f"compiling: {report.name}, {report.nodes_after} nodes")


@dataclass(frozen=True)
class PrintAfter:
    """Prints the graph on stderr after one pass.

    Attributes:
        name: The pass, or `all`.
    """

    name: str

    def __call__(self, report: PassReport, graph: Graph) -> None:
        """Print the graph when it is the wanted pass."""
        if self.name in ("all", report.name):
            changed = "" if report.changed else ", which changed nothing"
            print(f"// after {report.name}{changed}\n{print_graph(graph)}", file=sys.stderr)


@dataclass
class DumpFolder:
    """Writes the graph after every pass that changes it: `03-fuse_norm.graph`.

    Attributes:
        folder: Created when it does not exist.
    """

    folder: Path
    _count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise InputError(f"cannot make the folder: {problem.strerror}", Place(str(self.folder))) from None

    def __call__(self, report: PassReport, graph: Graph) -> None:
        """Write the graph when the pass changed it."""
        self._count += 1
        if report.changed:
            write_text(self.folder / f"{self._count:02}-{report.name}.graph", print_graph(graph))


MACHINE_PASSES = ("choose_units", "place_weights")
"""Passes that a machine brings, beside those of pipelines."""


def check_pass_name(name: str, further: Iterable[str] = ()) -> None:
    """Refuse a name that no pass has.

    Args:
        name: The name.
        further: Words that are allowed too.

    Raises:
        InputError: there is no such pass.
    """
    known = [*further, *PASSES]
    if name in known:
        return
    import difflib

    close = difflib.get_close_matches(name, known, 1)
    meant = f"did you mean '{close[0]}'?" if close else "'pimc passes' lists them"
    raise InputError(f"there is no pass '{name}'", help=meant)
