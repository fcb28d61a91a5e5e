"""The subcommands, one module each, in the order of the help."""

from __future__ import annotations

from pimc.commands import (
    asm,
    calibrate,
    check,
    compile,
    disasm,
    eval,
    generate,
    inspect,
    isa,
    machines,
    passes,
    policies,
    run,
    trace,
    verify,
)
from pimc.commands.command import Command

COMMANDS: tuple[Command, ...] = (
    compile.COMMAND,
    run.COMMAND,
    verify.COMMAND,
    generate.COMMAND,
    eval.COMMAND,
    calibrate.COMMAND,
    trace.COMMAND,
    asm.COMMAND,
    disasm.COMMAND,
    check.COMMAND,
    inspect.COMMAND,
    machines.COMMAND,
    passes.COMMAND,
    policies.COMMAND,
    isa.COMMAND,
)
