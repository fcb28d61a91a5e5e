"""Machine descriptions from YAML files: lookup by name, `extends`, all errors at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from isa.errors import MachineError, Place
from isa.machine import Machine
from isa.strict_json import as_object
from isa.yaml_loader import KeyPath, YamlFile, read_yaml

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_FOLDER = Path(__file__).parent / "machines"
_MAXIMUM_BASES = 8


def machine_names() -> tuple[str, ...]:
    """Names of the bundled machines."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_machine(name_or_path: str | Path) -> Machine:
    """Load a bundled machine by name, or a machine from a YAML file.

    Args:
        name_or_path: A bundled name, or a path, which ends in `.yaml` or `.yml`.

    Raises:
        MachineError: unknown name, unreadable or other file, or a description with errors (all of them in the message).
    """
    path = _locate(str(name_or_path), Path())
    return _bundled(path) if path.parent == _FOLDER else _validate(_resolve(path, ()))


@cache
def _bundled(path: Path) -> Machine:
    return _validate(_resolve(path, ()))


def machine_schema() -> dict[str, Any]:
    """JSON Schema of a machine description (before `extends` is resolved every key but `name` may be missing)."""
    schema = Machine.model_json_schema()
    schema["properties"]["extends"] = {"type": "string", "description": "Bundled name or file that this one refines"}
    schema["description"] += " A component may begin with `extends`, too: it refines that of another machine."
    return schema


def _locate(name: str, folder: Path) -> Path:
    is_path = "/" in name or "\\" in name
    if name.endswith((".yaml", ".yml")) or (is_path and not (folder / name).exists()):
        return folder / name
    known = machine_names()
    if name in known:
        return _FOLDER / f"{name}.yaml"
    if (folder / name).exists():
        raise MachineError(
            "this is not a machine description: the name of such a file ends in .yaml",
            Place(str(folder / name)),
            notes=[f"bundled machines: {', '.join(known)}"],
        )
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
    mapping = as_object(own.data)
    if mapping is None:
        raise MachineError("a machine description is a mapping", Place(shown, 1))
    data = dict(mapping)
    base_name = data.pop("extends", None)
    own, data = _with_components(own, data, path, (*seen, path.resolve()))
    if base_name is None:
        return YamlFile(own.file, data, own.places)
    line = own.places["extends",][1]
    if not isinstance(base_name, str):
        raise MachineError("extends: a name or a file is expected", Place(shown, line))
    if "name" not in data:
        raise MachineError("name: a machine that extends another one needs its own name", Place(shown, line))
    base = _resolve(_locate(base_name, path.parent), (*seen, path.resolve()))
    return _refine(base, own, data)


def _with_components(
    own: YamlFile, data: Mapping[str, Any], path: Path, seen: tuple[Path, ...]
) -> tuple[YamlFile, dict[str, Any]]:
    """The file, and `data` of it, with components filled up that extend those of other machines, sources included."""
    filled, sources, places = dict(data), dict(as_object(data.get("sources")) or {}), dict(own.places)
    for key, value in data.items():
        component = dict(as_object(value) or {})
        name = component.pop("extends", None)
        if name is None:
            continue
        base = _resolve(_locate(str(name), path.parent), seen)
        part = as_object(base.data.get(key))
        if part is None:
            line = own.places[key, "extends"][1]
            raise MachineError(f"{key}.extends: the machine '{name}' has no such component", Place(own.file, line))
        filled[key] = _merge(part, component)
        read = as_object(base.data.get("sources")) or {}
        sources = {**{path: text for path, text in read.items() if f"{path}.".startswith(f"{key}.")}, **sources}
        places = {**{path: place for path, place in base.places.items() if path[:1] == (key,)}, **places}
        del places[key, "extends"]
    if sources:
        filled["sources"] = sources
    return YamlFile(own.file, {**own.data, **filled}, places), filled


def _refine(base: YamlFile, own: YamlFile, data: Mapping[str, Any]) -> YamlFile:
    """`data` of `own` laid over `base`; sources of what `own` takes away go with it."""
    merged = _merge(base.data, data)
    stated = as_object(data.get("sources")) or {}
    sources = as_object(merged.get("sources")) or {}
    if sources:
        merged["sources"] = {path: text for path, text in sources.items() if path in stated or _exists(merged, path)}
    replaced = {path for path in own.places if as_object(_at(own.data, path)) is None}
    kept = {
        path: place
        for path, place in base.places.items()
        if not any(path[:length] in replaced for length in range(1, len(path)))
    }
    return YamlFile(own.file, merged, {**kept, **own.places})


def _at(data: Any, path: KeyPath) -> Any:
    for key in path:
        data = data[key]
    return data


def _merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `own` laid over it: mappings merge key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in own.items():
        below, above = as_object(merged.get(key)), as_object(value)
        merged[key] = value if below is None or above is None else _merge(below, above)
    return merged


def _validate(description: YamlFile) -> Machine:
    try:
        machine = Machine.model_validate(description.data)
    except ValidationError as problem:
        errors = [(error["loc"], _message(error)) for error in problem.errors(include_url=False)]
    else:
        errors = [
            (("sources", path), "no such path in the description")
            for path in machine.sources
            if not _exists(description.data, path)
        ]
        if not errors:
            return machine
    placed = sorted((*_place(description, loc), ".".join(map(str, loc)), message) for loc, message in errors)
    lines = [f"  {file}:{line}: {path}: {message}" for file, line, path, message in placed]
    raise MachineError("\n".join(("the machine description is not valid", *lines)))


def _message(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        *parents, key = error["loc"]
        close = difflib.get_close_matches(str(key), _keys(parents), 1)
        return f"unknown key; did you mean '{close[0]}'?" if close else "unknown key"
    if error["type"] == "missing":
        return "this key is missing"
    text = error["msg"].removeprefix("Value error, ")
    return text[0].lower() + text[1:]


def _keys(parents: Sequence[str | int]) -> list[str]:
    """Keys that the mapping at the end of `parents` may have."""
    model: type[BaseModel] = Machine
    for parent in parents:
        field = model.model_fields.get(str(parent))
        choices = [field.annotation, *get_args(field.annotation)] if field else []
        models = [each for each in choices if isinstance(each, type) and issubclass(each, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)


def _place(description: YamlFile, loc: KeyPath) -> tuple[str, int]:
    """File and line of a value, or of the nearest one around it."""
    while loc and loc not in description.places:
        loc = loc[:-1]
    return description.places.get(loc, (description.file, 1))


def _exists(data: Any, path: str) -> bool:
    for key in path.split("."):
        mapping = as_object(data)
        if mapping is None or key not in mapping:
            return False
        data = mapping[key]
    return True
