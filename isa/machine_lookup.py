"""The machine of a program: a bundled one by its name, any other by the description that the program carries."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from isa.errors import MachineError
from isa.machine import Machine
from isa.machine_loader import load_machine, machine_names
from isa.program import Program

_KEY = "machine_description"


def machine_metadata(machine: Machine) -> dict[str, Any]:
    """Metadata that make a program independent of the machine's file: its numbers; nothing for a bundled machine."""
    if machine.name in machine_names() and load_machine(machine.name).sha256 == machine.sha256:
        return {}
    return {_KEY: machine.model_dump(mode="json", exclude={"sources"})}


def program_machine(program: Program) -> Machine:
    """The machine that a program was compiled for.

    Raises:
        MachineError: it is not bundled and the program carries no description, or one that is not valid.
    """
    description = program.metadata.get(_KEY)
    if description is not None:
        return _validated(description)
    if program.machine in machine_names():
        return load_machine(program.machine)
    raise MachineError(
        f"unknown machine '{program.machine}'",
        notes=[f"bundled machines: {', '.join(machine_names())}", "the program carries no description of its machine"],
        help="give the file of its description: -m FILE.yaml",
    )


def _validated(description: Any) -> Machine:
    try:
        return Machine.model_validate_json(json.dumps(description))
    except ValidationError as problem:
        errors = problem.errors(include_url=False, include_context=False)
        raise MachineError(
            "the program's description of its machine is not valid",
            notes=[f"{'.'.join(map(str, each['loc'])) or 'description'}: {each['msg']}" for each in errors[:8]],
            help="give the file of its description: -m FILE.yaml",
        ) from None
