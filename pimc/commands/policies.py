"""`pimc policies`: the policies that compress the KV cache."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pimc.commands.command import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="show one policy")


def _run(options: Namespace) -> int:
    from isa import InputError
    from passes import POLICIES, suggestion
    from pimc.report.policies import policy_facts, print_policies, print_policy
    from pimc.report.terminal import Terminal, print_json

    terminal = Terminal(options.color, options.quiet)
    if options.name is not None and options.name not in POLICIES:
        raise InputError(f"there is no policy '{options.name}'", help=suggestion(options.name, POLICIES, "policies"))
    if options.name is not None:
        kind = POLICIES[options.name]
        print_json(policy_facts(kind)) if options.json else print_policy(terminal, kind)
    elif options.json:
        print_json({"policies": [policy_facts(kind) for kind in POLICIES.values()]})
    else:
        print_policies(terminal)
    return 0


COMMAND = Command(
    name="policies",
    summary="list the policies that compress the KV cache, or show one",
    description="Lists the policies that --kv takes, with parameters, formulas and sources; with NAME the whole page\n"
    "of one. --kv takes POLICY[:name=value,...] [+ POLICY...] [@ LAYERS] ; ... or @FILE with such a text. Policies\n"
    "for the same layers that retain, encode and select tokens go together with '+'; later ones override",
    examples=(
        "pimc policies",
        "pimc policies kivi",
        'pimc compile model.onnx --kv "window:sink=4,budget=512 + kivi:bits=4 ; none @ 0-1"',
    ),
    add_arguments=_add_arguments,
    run=_run,
)
