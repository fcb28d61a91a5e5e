"""`pimc generate` for encoder-decoder models: the encoder reads all at once, the decoder writes token by token."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isa import Program
    from pimc.model_folder import ModelFolder
    from pimc.text_model import TextModel


def run_folder(options: Namespace) -> int:
    """Encode, then decode until an end token; prints text, or token numbers where there is no tokenizer."""
    from isa import load_machine
    from pimc.commands.model_options import compile_with
    from pimc.commands.token_stream import UntilFull, print_stream
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
        print_stream("", stream, text_model)
        terminal.line()
        print_speed(terminal, decoder)
    if stream.problem is not None:
        raise stream.problem
    return 0


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
    from pimc.text_model import token_numbers

    if (options.prompt is None) == (options.inputs is None):
        raise InputError("one of --prompt and -i says what to encode", help="give one of them")
    if options.inputs is not None:
        return dict(read_arrays(options.inputs))
    port = token_input(program.part("encode"))
    tokens = text_model.encode(options.prompt, chat=False) if text_model else token_numbers(options.prompt)
    return {port.name: np.asarray([tokens], port.dtype)}
