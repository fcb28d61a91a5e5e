"""`pimc passes`: the passes and the named pipelines."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pimc.commands.command import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="show one pass")


def _run(options: Namespace) -> int:
    from passes import PASSES, PIPELINES
    from pimc.observing import check_pass_name
    from pimc.report.passes import pass_facts, print_pass, print_passes
    from pimc.report.terminal import Terminal, print_json

    terminal = Terminal(options.color, options.quiet)
    if options.name is not None:
        check_pass_name(options.name)
        kind = PASSES[options.name]
        print_json(pass_facts(kind)) if options.json else print_pass(terminal, kind)
        return 0
    if options.json:
        pipelines = {name: [step.name for step in steps] for name, steps in PIPELINES.items()}
        print_json({"passes": [pass_facts(kind) for kind in PASSES.values()], "pipelines": pipelines})
    else:
        print_passes(terminal)
    return 0


COMMAND = Command(
    name="passes",
    summary="list the passes and pipelines, or show one pass",
    description="Lists the passes over the graph and the named pipelines; with NAME what a pass demands, does, leaves.",
    examples=("pimc passes", "pimc passes fuse_attention"),
    add_arguments=_add_arguments,
    run=_run,
)
