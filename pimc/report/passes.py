"""Passes and pipelines as tables."""

from __future__ import annotations

import dataclasses
import inspect
from textwrap import fill
from typing import Any

from passes import PASSES, PIPELINES, Pass
from pimc.report.terminal import LINE_WIDTH, Terminal


def print_passes(terminal: Terminal) -> None:
    """One line a pass, then the pipelines."""
    rows = [(kind.name, _nature(kind), _summary(kind)) for kind in PASSES.values()]
    terminal.table("", ("pass", "", "what it does"), rows)
    for name, steps in PIPELINES.items():
        terminal.line()
        terminal.facts(f"pipeline {name}", [("", " ".join(step.name for step in steps))])


def print_pass(terminal: Terminal, kind: type[Pass]) -> None:
    """The whole description of a pass, and its options."""
    terminal.line(f"{kind.name} ({_nature(kind)})")
    terminal.line()
    for paragraph in (inspect.getdoc(kind) or "").split("\n\n"):
        terminal.line(_wrapped(paragraph) + "\n")
    options = [(field.name, str(field.default)) for field in _fields(kind)]
    if options:
        terminal.table("", ("option", "default"), options)


def pass_facts(kind: type[Pass]) -> dict[str, Any]:
    """A pass as JSON values."""
    return {
        "name": kind.name,
        "optional": kind.optional,
        "reassociates": kind.reassociates,
        "description": inspect.getdoc(kind) or "",
        "options": {field.name: field.default for field in _fields(kind)},
    }


def _fields(kind: type[Pass]) -> list[dataclasses.Field[Any]]:
    return list(dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else []


def _wrapped(paragraph: str) -> str:
    """A paragraph of a docstring in lines of the terminal's width; lists keep their lines."""
    lines = paragraph.splitlines()
    if any(line.startswith(" ") for line in lines[1:]) or max(map(len, lines), default=0) <= LINE_WIDTH:
        return paragraph
    return fill(" ".join(lines), LINE_WIDTH)


def _nature(kind: type[Pass]) -> str:
    nature = "optional" if kind.optional else "always runs"
    return nature + (", may round differently" if kind.reassociates else "")


def _summary(kind: type[Pass]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]
