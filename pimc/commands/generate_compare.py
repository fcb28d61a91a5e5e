"""`pimc generate --compare`: the text with a compressed KV cache beside that without."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isa import Machine
    from pimc.comparison import Side
    from pimc.report.terminal import Terminal
    from pimc.text_model import TextModel


@dataclass(frozen=True)
class Prompt:
    """What is continued.

    Attributes:
        tokens: Its token numbers.
        text_model: The tokenizer; `None` when texts are token numbers.
        end_tokens: Token numbers after which nothing follows.
    """

    tokens: Sequence[int]
    text_model: TextModel | None
    end_tokens: frozenset[int]

    def write(self, tokens: Sequence[int]) -> str:
        """The text of token numbers."""
        return self.text_model.decode(tokens) if self.text_model else " ".join(map(str, tokens))


def run_comparison(options: Namespace, prompt: Prompt) -> int:
    """Continue the prompt without and with compression, a token of each in turn."""
    from isa import InputError, load_machine
    from pimc.commands.token_stream import UntilFull
    from pimc.report.comparison import comparison_facts, print_comparison, print_sides
    from pimc.report.terminal import Terminal, print_json

    if options.kv is None:
        raise InputError("there is no compression to compare", help="give --kv")
    machine = load_machine(options.machine)
    terminal = Terminal(options.color, options.quiet)
    with terminal.status(f"compiling {options.model}"):
        sides = [_side(options, terminal, machine, prompt, kv) for kv in (None, options.kv)]
    streams = [UntilFull(side.stream) for side in sides]
    for side, stream in zip(sides, streams, strict=True):
        side.stream = iter(stream)
    if options.json:
        print_json(comparison_facts(sides, prompt.write))
    else:
        print_sides(terminal, sides, prompt.write)
        terminal.line()
        print_comparison(terminal, sides)
    problem = next((stream.problem for stream in streams if stream.problem is not None), None)
    if problem is not None:
        raise problem
    return 0


def _side(options: Namespace, terminal: Terminal, machine: Machine, prompt: Prompt, kv: str | None) -> Side:
    from passes import load_kv
    from pimc.commands.model_options import compile_with, note_idle_wishes
    from pimc.commands.token_stream import check_numbers
    from pimc.comparison import Side
    from pimc.generation import Decoder, generate, likeliest, sampler
    from pimc.simulator import Session

    program = compile_with(Namespace(**{**vars(options), "kv": kv}), machine)
    check_numbers(prompt.tokens, program)
    if kv is not None:
        note_idle_wishes(terminal, program, len(prompt.tokens) + options.tokens)
    decoder = Decoder(program, Session(program, machine))
    choose = sampler(options.temperature, options.seed) if options.temperature else likeliest
    stream = generate(decoder, prompt.tokens, options.tokens, choose, prompt.end_tokens)
    return Side("none" if kv is None else load_kv(kv).label, decoder, stream)
