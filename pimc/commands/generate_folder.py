"""`pimc generate` for encoder-decoder models: the encoder reads all at once, the decoder writes token by token."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isa import Program
    from pimc.model_folder import ModelFolder
    from pimc.text_model import TextModel


def run_folder(options: Namespace) -> int:
    """Encode, then decode until an end token; prints text, or token numbers where there is no tokenizer."""
    from isa import load_machine
    from pimc.commands.generate import UntilFull
    from pimc.commands.model_options import compile_with
    from pimc.generation import EncoderDecoder, generate, likeliest, sampler
    from pimc.model_folder import load_folder
    from pimc.observing import Record
    from pimc.report.generation import print_speed, speed_facts
    from pimc.report.terminal import Terminal, print_json
    from pimc.simulator import Session

    folder, machine = load_folder(options.model), load_machine(options.machine)
    text_model = _text_model(folder)
    terminal = Terminal(options.color, options.quiet)
    with terminal.status(f"compiling {options.model}") as show:
        program = compile_with(options, machine, [Record(show)])
    decoder = EncoderDecoder(program, Session(program, machine), _encoder_inputs(options, program, text_model))
    choose = sampler(options.temperature, options.seed) if options.temperature else likeliest
    start = folder.start_token if options.start_token is None else options.start_token
    stream = UntilFull(generate(decoder, [start], options.tokens, choose, folder.end_tokens))
    if options.json:
        tokens = list(stream)
        text = {} if text_model is None else {"text": text_model.decode(tokens)}
        print_json({**text, "tokens": tokens, **speed_facts(decoder)})
    else:
        _print(stream, text_model)
        terminal.line()
        print_speed(terminal, decoder)
    if stream.problem is not None:
        raise stream.problem
    return 0


def _print(stream: Iterable[int], text_model: TextModel | None) -> None:
    """Print the text as it comes, or its token numbers."""
    from pimc.commands.generate import print_stream

    if text_model is not None:
        print_stream("", stream, text_model)
    else:
        print(*stream)


def _text_model(folder: ModelFolder) -> TextModel | None:
    from pimc.text_model import TOKENIZER_FILE, load_text_model

    if not (folder.path / TOKENIZER_FILE).is_file():
        return None
    return load_text_model(folder.path / TOKENIZER_FILE, {})


def _encoder_inputs(options: Namespace, program: Program, text_model: TextModel | None) -> dict[str, Any]:
    """The arrays of `-i`, or the prompt's tokens.

    Raises:
        InputError: neither or both are given, or the prompt is not made of token numbers where it must be.
        UnsupportedError: the encoder takes no token numbers.
    """
    import numpy as np

    from isa import InputError
    from pimc.arrays import read_arrays
    from pimc.generation import token_input

    if (options.prompt is None) == (options.inputs is None):
        raise InputError("one of --prompt and -i says what to encode", help="give one of them")
    if options.inputs is not None:
        return dict(read_arrays(options.inputs))
    port = token_input(program.part("encode"))
    if text_model is not None:
        tokens = text_model.encode(options.prompt, chat=False)
    else:
        parts = options.prompt.split()
        if not parts or not all(part.isdecimal() for part in parts):
            raise InputError(
                "without a tokenizer.json in the folder the prompt is token numbers", help='as --prompt "5 17 2"'
            )
        tokens = [int(part) for part in parts]
    return {port.name: np.asarray([tokens], port.dtype)}
