"""`pimc machines`: the bundled machines, one machine in full, the schema of descriptions."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from pimc.commands.command import Command

if TYPE_CHECKING:
    from isa import Machine


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("machine", nargs="?", metavar="NAME", help="a bundled machine or a YAML file: show all of it")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of machine descriptions")


def _run(options: Namespace) -> int:
    from isa import load_machine, machine_names, machine_schema
    from pimc.report.machines import print_machine, print_machines
    from pimc.report.terminal import Terminal, print_json

    if options.schema:
        print_json(machine_schema())
        return 0
    terminal = Terminal(options.color, options.quiet)
    if options.machine is not None:
        machine = load_machine(options.machine)
        print_json(machine.model_dump(mode="json")) if options.json else print_machine(terminal, machine)
        return 0
    machines = [load_machine(name) for name in machine_names()]
    print_json([_summary(machine) for machine in machines]) if options.json else print_machines(terminal, machines)
    return 0


def _summary(machine: Machine) -> dict[str, Any]:
    return {
        "name": machine.name,
        "description": machine.description,
        "clock_ns": machine.clock_ns,
        "extensions": list(machine.extensions),
        "sha256": machine.sha256,
    }


COMMAND = Command(
    name="machines",
    summary="list the machines, or show one",
    description="Lists the bundled machines; with NAME shows every number of one machine and where it was read.",
    examples=("pimc machines", "pimc machines gddr6-aim", "pimc machines --schema > machine.schema.json"),
    add_arguments=_add_arguments,
    run=_run,
)
