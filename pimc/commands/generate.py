"""`pimc generate`: text in, text out."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pimc.commands.command import Command
from pimc.commands.model_options import add_model_options, compile_with

if TYPE_CHECKING:
    from isa import ResourceLimitError
    from pimc.text_model import TextModel


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ArgumentTypeError(f"'{text}' is not a number from 0 on")
    return value


def _add_arguments(parser: ArgumentParser) -> None:
    add_model_options(parser, numerics="machine")
    parser.add_argument("--prompt", metavar="TEXT", help="text to continue, the question in a chat, or what to encode")
    parser.add_argument("-n", "--tokens", type=int, default=32, metavar="N", help="tokens to generate (default 32)")
    parser.add_argument(
        "--chat", action=BooleanOptionalAction, help="use the model's chat template (default: if it has one)"
    )
    parser.add_argument(
        "--temperature", type=_temperature, default=0.0, metavar="T", help="0 takes the likeliest token (default 0)"
    )
    group = parser.add_argument_group("encoder-decoder models in a folder")
    group.add_argument("-i", "--inputs", metavar="IN.npz", help="arrays for the encoder by name, instead of --prompt")
    group.add_argument(
        "--start-token", type=int, metavar="N", help="first token of the decoder (default: of config.json, else 0)"
    )


def _run(options: Namespace) -> int:
    if Path(options.model).is_dir():
        from pimc.commands.generate_folder import run_folder

        return run_folder(options)
    return _run_model(options)


def _run_model(options: Namespace) -> int:
    """Continue the prompt."""
    from isa import InputError, load_machine
    from pimc.generation import Decoder, generate, likeliest, sampler
    from pimc.observing import Record
    from pimc.report.generation import print_speed, speed_facts
    from pimc.report.terminal import Terminal, print_json
    from pimc.simulator import Session

    if options.prompt is None or options.inputs is not None or options.start_token is not None:
        raise InputError("a single model continues a text", help="give --prompt, without -i and --start-token")
    text_model = _text_model(options.model)
    chat = text_model.chat_template is not None if options.chat is None else options.chat
    prompt = text_model.encode(options.prompt, chat)
    machine = load_machine(options.machine)
    terminal = Terminal(options.color, options.quiet)
    with terminal.status(f"compiling {options.model}") as show:
        program = compile_with(options, machine, [Record(show)])
    decoder = Decoder(program, Session(program, machine))
    choose = sampler(options.temperature, options.seed) if options.temperature else likeliest
    stream = UntilFull(generate(decoder, prompt, options.tokens, choose, text_model.end_tokens))
    if options.json:
        tokens = list(stream)
        print_json({"text": text_model.decode(tokens), "tokens": tokens, **speed_facts(decoder)})
    else:
        print_stream("" if chat else options.prompt, stream, text_model)
        terminal.line()
        print_speed(terminal, decoder)
    if stream.problem is not None:
        raise stream.problem
    return 0


def _text_model(model: str) -> TextModel:
    """The tokenizer beside the model, with what the model's metadata say about it."""
    from pimc.file_kinds import FileKind, check_kind
    from pimc.frontend import load_model
    from pimc.text_model import load_text_model

    check_kind(model, FileKind.MODEL)
    properties = {entry.key: entry.value for entry in load_model(model).proto.metadata_props}
    return load_text_model(model, properties)


@dataclass
class UntilFull:
    """Tokens until the context is full; what was generated so far is shown before the error is.

    Attributes:
        tokens: Raises `ResourceLimitError` when the cache cannot hold a further token.
        problem: That error, once it was raised; one before the first token, from the prompt, is passed on.
    """

    tokens: Iterator[int]
    problem: ResourceLimitError | None = None

    def __iter__(self) -> Iterator[int]:
        """The tokens, without the error."""
        from isa import ResourceLimitError

        has_begun = False
        try:
            for token in self.tokens:
                has_begun = True
                yield token
        except ResourceLimitError as problem:
            if not has_begun:
                raise
            self.problem = problem


def print_stream(start: str, stream: Iterable[int], text_model: TextModel) -> None:
    """Print text while its tokens arrive; a character that needs further tokens waits for them."""
    print(start, end="", flush=True)
    tokens: list[int] = []
    shown = 0
    for token in stream:
        tokens.append(token)
        text = text_model.decode(tokens)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            print(text[shown:], end="", flush=True)
            shown = len(text)
    print(text_model.decode(tokens)[shown:])


COMMAND = Command(
    name="generate",
    summary="generate text and say how fast the machine is",
    description="Compiles a language model, runs it token by token on the simulator and prints the text, then\n"
    "tokens/s and J/token of the machine. Reads the tokenizer.json beside the model. A folder with an encoder and its\n"
    "decoders encodes the prompt and writes what the decoder says; without a tokenizer.json both are token numbers.",
    examples=(
        'pimc generate models/tiny-shakespeare.onnx --prompt "ROMEO:" -n 100',
        'pimc generate t5-small/ --prompt "Hello"',
    ),
    add_arguments=_add_arguments,
    run=_run,
)
