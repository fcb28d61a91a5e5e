"""Strict YAML: plain data with line numbers, without the traps of YAML 1.1."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from isa.errors import InputError, Place

MAXIMUM_BYTES = 1 << 20
MAXIMUM_DEPTH = 32
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_compose: Callable[..., yaml.Node | None] = cast("Any", yaml).compose
_parse: Callable[..., Iterable[yaml.Event]] = cast("Any", yaml).parse
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C where it was built, 15 times faster
_SPECIAL = {"": None, "~": None, "null": None, "true": True, "false": False}

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class YamlFile:
    """Data of a YAML file.

    Attributes:
        file: File name as the user gave it.
        data: Mappings (with string keys), tuples, `str`, `int`, `float`, `bool`, `None`.
        places: For the path of every value, file name and 1-based line.
    """

    file: str
    data: Any
    places: Mapping[KeyPath, tuple[str, int]]


def read_yaml(path: Path, file: str | None = None, error: type[InputError] = InputError) -> YamlFile:
    """Read a YAML file of at most 1 MiB; what is wrong is raised as `error`."""
    name = file or str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAXIMUM_BYTES + 1)
    except OSError as problem:
        raise error(f"cannot read the file: {problem.strerror}", Place(name)) from None
    if len(raw) > MAXIMUM_BYTES:
        raise error("the file is larger than 1 MiB", Place(name))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise error(f"the file is not UTF-8 (byte {problem.start})", Place(name)) from None
    return parse_yaml(text, name, error)


def parse_yaml(text: str, file: str, error: type[InputError] = InputError) -> YamlFile:
    """Read YAML text: one document, no anchors, aliases, tags or duplicate keys, depth at most 32.

    Plain scalars are `null`, `~`, `true`, `false`, decimal integers and decimal floats (`1e6` is a float); everything
    else is a string.
    """
    try:
        _refuse_references(text, file, error)
        node = _compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        raise error(f"not YAML: {problem.problem or problem.context}", place) from None
    except yaml.YAMLError as problem:
        raise error(f"not YAML: {problem}", Place(file)) from None
    if node is None:
        raise error("the file is empty", Place(file))
    builder = _Builder(file, error)
    data = builder.value(node, ())
    return YamlFile(file, data, builder.places)


def _refuse_references(text: str, file: str, error: type[InputError]) -> None:
    depth = 0
    for event in _parse(text, Loader=_LOADER):
        mark = event.start_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise error("anchors and aliases are not allowed", place)
        if getattr(event, "tag", None):
            raise error("tags are not allowed", place)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAXIMUM_DEPTH:
            raise error(f"nested deeper than {MAXIMUM_DEPTH} levels", place)


class _Builder:
    """Turns composed nodes into data and remembers the line of each."""

    def __init__(self, file: str, error: type[InputError]) -> None:
        self.file = file
        self.error = error
        self.places: dict[KeyPath, tuple[str, int]] = {}

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.places[path] = (self.file, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.value(item, (*path, index)) for index, item in enumerate(node.value))
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = Place(self.file, key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error("a key must be a plain name", place)
            key = str(key_node.value)
            if key in result:
                raise self.error(f"the key '{key}' is given twice", place)
            result[key] = self.value(value_node, (*path, key))
            self.places[(*path, key)] = (self.file, place.line)
        return result


def _scalar(node: yaml.Node) -> Any:
    text = str(node.value)
    if getattr(node, "style", None):
        return text
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _INTEGER.match(text) and len(text) < 30:
        return int(text)
    if _FLOAT.match(text) and not text.isdigit():
        return float(text)
    return text
