"""`pimc generate`: text in, text out."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pimc.commands.command import Command
from pimc.commands.model_options import add_model_options, add_policies, compile_with, note_idle_wishes

if TYPE_CHECKING:
    from pimc.generation import Decoder
    from pimc.report.terminal import Terminal
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
    add_policies(parser)
    parser.add_argument("--prompt", metavar="TEXT", help="text to continue, the question in a chat, or what to encode")
    parser.add_argument("-n", "--tokens", type=int, default=32, metavar="N", help="tokens to generate (default 32)")
    parser.add_argument(
        "--chat", action=BooleanOptionalAction, help="use the model's chat template (default: if it has one)"
    )
    parser.add_argument(
        "--temperature", type=_temperature, default=0.0, metavar="T", help="0 takes the likeliest token (default 0)"
    )
    parser.add_argument("--compare", action="store_true", help="write what --kv gives beside the text without it")
    group = parser.add_argument_group("encoder-decoder models in a folder")
    group.add_argument("-i", "--inputs", metavar="IN.npz", help="arrays for the encoder by name, instead of --prompt")
    group.add_argument(
        "--start-token", type=int, metavar="N", help="first token of the decoder (default: of config.json, else 0)"
    )


def _run(options: Namespace) -> int:
    if Path(options.model).is_dir():
        from isa import UnsupportedError
        from pimc.commands.generate_folder import run_folder

        if options.compare:
            raise UnsupportedError("a folder's texts cannot be compared side by side", help="leave --compare out")
        return run_folder(options)
    return _run_model(options)


def _run_model(options: Namespace) -> int:
    """Continue the prompt."""
    from isa import InputError
    from pimc.commands.generate_compare import Prompt, run_comparison
    from pimc.commands.token_stream import UntilFull, print_stream, text_facts
    from pimc.generation import generate, likeliest, sampler
    from pimc.report.generation import print_speed, speed_facts
    from pimc.report.terminal import Terminal, print_json
    from pimc.text_model import token_numbers

    if options.prompt is None or options.inputs is not None or options.start_token is not None:
        raise InputError("a single model continues a text", help="give --prompt, without -i and --start-token")
    text_model, ends = _text_model(options.model)
    chat = _is_chat(options, text_model)
    prompt = text_model.encode(options.prompt, chat) if text_model else token_numbers(options.prompt)
    if options.compare:
        return run_comparison(options, Prompt(prompt, text_model, ends))
    terminal = Terminal(options.color, options.quiet)
    decoder = _decoder(options, terminal, prompt)
    choose = sampler(options.temperature, options.seed) if options.temperature else likeliest
    stream = UntilFull(generate(decoder, prompt, options.tokens, choose, ends))
    if options.json:
        print_json({**text_facts(stream, text_model), **speed_facts(decoder)})
    else:
        print_stream("" if chat else options.prompt, stream, text_model)
        terminal.line()
        print_speed(terminal, decoder)
    if stream.problem is not None:
        raise stream.problem
    return 0


def _decoder(options: Namespace, terminal: Terminal, prompt: Sequence[int]) -> Decoder:
    """The compiled model with an empty cache; the prompt's tokens are checked."""
    from isa import load_machine
    from pimc.commands.token_stream import check_numbers
    from pimc.generation import Decoder
    from pimc.observing import Record
    from pimc.simulator import Session

    machine = load_machine(options.machine)
    with terminal.status(f"compiling {options.model}") as show:
        program = compile_with(options, machine, [Record(show)])
    check_numbers(prompt, program)
    note_idle_wishes(terminal, program, len(prompt) + options.tokens)
    return Decoder(program, Session(program, machine))


def _is_chat(options: Namespace, text_model: TextModel | None) -> bool:
    """Whether the prompt becomes the first turn of a conversation; raises `InputError` where no text is read."""
    from isa import InputError

    if text_model is None:
        if options.chat:
            raise InputError("a conversation needs the model's tokenizer.json", help="leave --chat out")
        return False
    return text_model.chat_template is not None if options.chat is None else options.chat


def _text_model(model: str) -> tuple[TextModel | None, frozenset[int]]:
    """The tokenizer beside the model, if there is one, and the tokens that end a text by the model's metadata."""
    from pimc.file_kinds import FileKind, check_kind
    from pimc.frontend import load_model
    from pimc.text_model import end_tokens, has_tokenizer, load_text_model

    check_kind(model, FileKind.MODEL)
    properties = {entry.key: entry.value for entry in load_model(model).proto.metadata_props}
    return load_text_model(model, properties) if has_tokenizer(model) else None, end_tokens(properties)


COMMAND = Command(
    name="generate",
    summary="generate text and say how fast the machine is",
    description="Compiles a language model, runs it token by token on the simulator and prints the text, then\n"
    "tokens/s and J/token of the machine. Reads the tokenizer.json beside the model; without one, prompt and text are\n"
    "token numbers. A folder with an encoder and its decoders encodes the prompt and writes what the decoder says.",
    examples=(
        'pimc generate models/tiny-shakespeare.onnx --prompt "ROMEO:" -n 100',
        'pimc generate model.onnx --prompt "5 17 2"',
        'pimc generate model.onnx --prompt "Tell me a story" --kv window:budget=64 --compare',
        'pimc generate t5-small/ --prompt "Hello"',
    ),
    add_arguments=_add_arguments,
    run=_run,
)
