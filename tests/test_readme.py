"""README and CONTRIBUTING speak of commands, files and names that exist."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

import pimc
from pimc.parser import parse

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"^\$ pimc (.+)$", README, re.MULTILINE)))


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    parse(shlex.split(command.partition(" | ")[0]))


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_files_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:pimc|passes|isa|models|tests|docs)/[\w./*-]+)`", text)) - {"models/build/"}
    assert named
    assert [name for name in sorted(named) if not list(ROOT.glob(name.rstrip("/")))] == []


def test_python_examples_use_public_names() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    attributes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    used = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "pimc"}
    assert used
    assert used <= set(pimc.__all__)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documents = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(?:`|\$ )make ([a-z]+)", documents)) <= targets
