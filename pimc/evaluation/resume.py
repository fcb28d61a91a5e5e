"""The file from which an interrupted evaluation goes on: what is done, and of what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isa import InputError, Place, check_output
from pimc.evaluation.costs import Cost
from pimc.evaluation.window_run import WindowResult
from pimc.files import read_text, write_text

_FORMAT = "pimc eval"
_VERSION = 1


class ResumeFile:
    """Results of windows, written whole after every window.

    A file of another model, text, machine or setting is refused, and so are results of a policy whose program has
    become another one.
    """

    def __init__(self, path: str | Path | None, identity: Mapping[str, Any]) -> None:
        """Read what is there.

        Args:
            path: The file, which need not exist; `None` keeps everything in memory.
            identity: What the results hold for, as JSON values by name.

        Raises:
            InputError: the file is not such a file, or holds for something else.
        """
        self._path = path
        self._contents: dict[str, Any] = {
            "format": _FORMAT,
            "version": _VERSION,
            "identity": dict(identity),
            "policies": {},
        }
        if path is None:
            return
        check_output(path)
        if Path(path).exists():
            self._contents = self._read(path)
            self._check_identity(identity)

    @property
    def _place(self) -> Place:
        return Place(str(self._path))

    def _read(self, path: str | Path) -> dict[str, Any]:
        try:
            contents = json.loads(read_text(path))
            is_ours = contents["format"] == _FORMAT and contents["version"] == _VERSION
            for entry in contents["policies"].values():
                _ = [WindowResult.from_json(each) for each in entry["windows"]], entry["program_sha256"]
                _ = [Cost.from_json(each) for each in entry["without_data"].values()]
        except (ValueError, KeyError, TypeError, AttributeError):
            is_ours = False
        if not is_ours:
            raise InputError("not a file to resume an evaluation from", self._place, help="name another file")
        return dict(contents)

    def _check_identity(self, identity: Mapping[str, Any]) -> None:
        found = self._contents["identity"]
        names = dict.fromkeys([*identity, *found])
        notes = [
            f"{name}: the file has {_short(found.get(name))}, now it is {_short(identity.get(name))}"
            for name in names
            if found.get(name) != identity.get(name)
        ]
        if notes:
            raise InputError(
                "the file holds results of another evaluation",
                self._place,
                notes=notes,
                help="name another file, or remove this one to begin anew",
            )

    def begin(self, policy: str, program_sha256: str) -> None:
        """Name the program of a policy.

        Raises:
            InputError: the file has results of another program of this policy.
        """
        empty: dict[str, Any] = {"program_sha256": program_sha256, "windows": [], "without_data": {}}
        entry = self._contents["policies"].setdefault(policy, empty)
        if entry["program_sha256"] != program_sha256:
            raise InputError(
                f"the file holds results of another program for '{policy}'",
                self._place,
                notes=["a policy's file or the compiler has changed since"],
                help="name another file, or remove this one to begin anew",
            )

    def windows(self, policy: str) -> list[WindowResult]:
        """Results of the windows that are done, in order."""
        return [WindowResult.from_json(each) for each in self._contents["policies"][policy]["windows"]]

    def add_window(self, policy: str, result: WindowResult) -> None:
        """Keep the result of the next window."""
        self._contents["policies"][policy]["windows"].append(result.to_json())
        self._write()

    def without_data(self, policy: str) -> dict[int, Cost]:
        """Costs that are known without data, by context."""
        found = self._contents["policies"][policy]["without_data"]
        return {int(context): Cost.from_json(cost) for context, cost in found.items()}

    def add_without_data(self, policy: str, context: int, cost: Cost) -> None:
        """Keep the cost at a context."""
        self._contents["policies"][policy]["without_data"][str(context)] = cost.to_json()
        self._write()

    def _write(self) -> None:
        if self._path is not None:
            write_text(self._path, json.dumps(self._contents, allow_nan=False) + "\n")


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return f"{text[:16]}..." if len(text) == 64 else text
