"""Policies of KV-cache compression as tables, and which layers of a model have which."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from isa import Program
from passes import (
    POLICIES,
    Compression,
    Finding,
    Parameter,
    Policy,
    cache_from_facts,
    describe_compression,
    first_effect,
    parameters,
)
from pimc.report.terminal import Terminal

_PASS = "kv_compression"


def print_policies(terminal: Terminal) -> None:
    """One line a policy, then what each of their parameters is."""
    rows = [(kind.name, kind.mechanism, _summary(kind)) for kind in POLICIES.values()]
    terminal.table("", ("policy", "decides", "what it does"), rows)
    for kind in POLICIES.values():
        if parameters(kind):
            terminal.line()
            terminal.line(f"{kind.name}:{','.join(_with_default(parameter) for parameter in parameters(kind))}")
            terminal.paragraph(kind.formula, "  ")
            terminal.paragraph(kind.source, "  ")


def print_policy(terminal: Terminal, kind: type[Policy]) -> None:
    """The whole page of a policy."""
    terminal.line(f"{kind.name} ({kind.mechanism})")
    terminal.line()
    terminal.paragraph(_summary(kind))
    rows = [(each.name, _default(each), each.allowed, each.meaning) for each in parameters(kind)]
    if rows:
        terminal.table("", ("parameter", "default", "allowed", "what it is"), rows)
    for title, text in (("formula", kind.formula), ("source", kind.source), ("differences", kind.differences)):
        terminal.line()
        terminal.line(f"{title}:")
        terminal.paragraph(text, "  ")


def policy_facts(kind: type[Policy]) -> dict[str, Any]:
    """A policy as JSON values; a default of null follows from other parameters or from the model."""
    return {
        "name": kind.name,
        "mechanism": kind.mechanism,
        "summary": _summary(kind),
        "formula": kind.formula,
        "source": kind.source,
        "differences": kind.differences,
        "parameters": [
            {"name": each.name, "default": each.default, "allowed": each.allowed, "meaning": each.meaning}
            for each in parameters(kind)
        ],
    }


def compression_rows(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Which policies compress which layers of a model, and what stays exact, as rows of facts."""
    texts: list[str] = []
    exact: list[str] = []
    for each in findings:
        if each.pass_name == _PASS:
            texts.append(each.pattern)
            exact += [f"{number} {kind}" for kind, number in each.details]
    return [("kv cache", text) for text in (*texts, *exact)]


def cache_rows(caches: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """How the caches of a program keep their tokens, from its metadata `compressed_cache`, as rows of facts."""
    found = [cache_from_facts(each) for each in caches]
    texts = Counter(describe_compression(cache.compression or Compression()) for cache in found)
    return [("kv cache", f"{number} of {len(found)} layers: {text}") for text, number in texts.items()]


def say_idle(terminal: Terminal, program: Program, tokens: int | None = None, policy: str = "") -> None:
    """Note, where no policy of a program ever acts, how many tokens they need.

    Args:
        terminal: Where to say it.
        program: The program.
        tokens: Tokens of the longest sequence; default: the longest context.
        policy: What to call the policies.
    """
    parts = [program.metadata, *(program.entry_facts(entry) for entry in program.stages)]
    caches = [cache_from_facts(each) for part in parts for each in part.get("compressed_cache", ())]
    most = int(program.metadata["max_context"]) if tokens is None else tokens
    first = min((first_effect(each.compression or Compression()) for each in caches), default=0)
    if first > most:
        name = f"{policy}: " if policy else ""
        terminal.note(f"{name}the policies do not act within {most} tokens: they need {first}")


def _summary(kind: type[Policy]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def _with_default(parameter: Parameter) -> str:
    return parameter.name if parameter.default is None else f"{parameter.name}={parameter.default}"


def _default(parameter: Parameter) -> str:
    return "" if parameter.default is None else str(parameter.default)
