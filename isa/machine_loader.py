"""Machine descriptions from YAML files: lookup by name, `extends`, all errors at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from isa.errors import MachineError, Place
from isa.machine import Machine
from isa.yaml_loader import KeyPath, YamlFile, read_yaml

_FOLDER = Path(__file__).parent / "machines"
_MAXIMUM_BASES = 8


def machine_names() -> tuple[str, ...]:
    """Names of the bundled machines."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_machine(name_or_path: str | Path) -> Machine:
    """Load a bundled machine by name, or a machine from a YAML file.

    Args:
        name_or_path: A bundled name, or a path: what ends in `.yaml` or `.yml`, or contains a separator.

    Raises:
        MachineError: unknown name, unreadable file, or a description with errors (all of them in the message).
    """
    resolved = _resolve(_locate(str(name_or_path), Path()), ())
    return _validate(resolved)


def machine_schema() -> dict[str, Any]:
    """JSON Schema of a machine description (before `extends` is resolved every key but `name` may be missing)."""
    schema = Machine.model_json_schema()
    schema["properties"]["extends"] = {"type": "string", "description": "Bundled name or file that this one refines"}
    return schema


def _locate(name: str, folder: Path) -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name or "\\" in name:
        return folder / name
    known = machine_names()
    if name in known:
        return _FOLDER / f"{name}.yaml"
    close = difflib.get_close_matches(name, known, 1)
    raise MachineError(
        f"unknown machine '{name}'",
        notes=[f"bundled machines: {', '.join(known)}"],
        help=f"did you mean '{close[0]}'?" if close else "give a bundled name or the path of a .yaml file",
    )


def _resolve(path: Path, seen: tuple[Path, ...]) -> YamlFile:
    """The file with everything that it extends merged in."""
    shown = f"{path.stem}.yaml" if path.parent == _FOLDER else str(path)
    if path.resolve() in seen or len(seen) >= _MAXIMUM_BASES:
        raise MachineError("'extends' goes round in a circle or is too deep", Place(shown))
    own = read_yaml(path, shown, MachineError)
    if not isinstance(own.data, dict):
        raise MachineError("a machine description is a mapping", Place(shown, 1))
    data: dict[str, Any] = dict(own.data)
    base_name = data.pop("extends", None)
    if base_name is None:
        return YamlFile(own.file, data, own.places)
    line = own.places["extends",][1]
    if not isinstance(base_name, str):
        raise MachineError("extends: a name or a file is expected", Place(shown, line))
    if "name" not in data:
        raise MachineError("name: a machine that extends another one needs its own name", Place(shown, line))
    base = _resolve(_locate(base_name, path.parent), (*seen, path.resolve()))
    return YamlFile(own.file, _merge(base.data, data), {**base.places, **own.places})


def _merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `own` laid over it: mappings merge key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in own.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _validate(description: YamlFile) -> Machine:
    try:
        machine = Machine.model_validate(description.data)
    except ValidationError as problem:
        errors = [(tuple(error["loc"]), error["msg"]) for error in problem.errors(include_url=False)]
    else:
        errors = [
            (("sources", path), "no such path in the description")
            for path in machine.sources
            if not _exists(description.data, path)
        ]
        if not errors:
            return machine
    lines = [_line(description, loc, message) for loc, message in errors]
    raise MachineError("the machine description is not valid\n  " + "\n  ".join(lines))


def _line(description: YamlFile, loc: KeyPath, message: str) -> str:
    place = loc
    while place and place not in description.places:
        place = place[:-1]
    file, line = description.places.get(place, (description.file, 1))
    text = message.removeprefix("Value error, ")
    return f"{file}:{line}: {'.'.join(str(part) for part in loc)}: {text[0].lower()}{text[1:]}"


def _exists(data: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True
