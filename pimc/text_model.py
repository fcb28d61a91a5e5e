"""What a language model needs beside its graph: tokenizer, chat template, tokens that end the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isa import InputError, MissingPackageError, Place
from pimc.chat_template import first_turn

TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class TextModel:
    """A tokenizer with the facts that the model's metadata state.

    Attributes:
        tokenizer: A `tokenizers.Tokenizer`.
        chat_template: The model's template of conversations, or `None`.
        end_tokens: Token numbers after which nothing follows.
    """

    tokenizer: Any
    chat_template: str | None
    end_tokens: frozenset[int]

    def encode(self, prompt: str, chat: bool) -> list[int]:
        """Token numbers of a prompt.

        Args:
            prompt: The user's words.
            chat: Whether to put them into the chat template.

        Raises:
            InputError: there is no chat template, or the prompt has no tokens.
            UnsupportedError: the chat template is not of a known form.
        """
        if chat and self.chat_template is None:
            raise InputError("the model has no chat template", help="leave --chat out")
        text = first_turn(self.chat_template, prompt) if chat and self.chat_template else prompt
        tokens: list[int] = self.tokenizer.encode(text).ids
        if not tokens:
            raise InputError("the prompt has no tokens", help="give some text with --prompt")
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token numbers, without special tokens."""
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text


def load_text_model(model: str | Path, metadata: Mapping[str, str]) -> TextModel:
    """The tokenizer beside a model.

    Args:
        model: Path of the ONNX file.
        metadata: Its metadata properties: `chat_template`, `eos_token_id` (numbers separated by commas).

    Raises:
        MissingPackageError: the package tokenizers is not installed.
        InputError: there is no model, no tokenizer beside it, or that cannot be read.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MissingPackageError("text needs the package tokenizers", help='pip install "pimc[text]"') from None
    if not Path(model).exists():
        raise InputError("cannot read the model: there is no such file", Place(str(model)))
    path = Path(model).parent / TOKENIZER_FILE
    if not path.is_file():
        raise InputError(
            "there is no tokenizer beside the model", Place(str(path)), help=f"put the model's {TOKENIZER_FILE} there"
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as problem:  # the package raises plain exceptions
        raise InputError("not a tokenizer", Place(str(path)), notes=[str(problem)]) from None
    return TextModel(tokenizer, metadata.get("chat_template"), end_tokens(metadata))


def end_tokens(metadata: Mapping[str, str]) -> frozenset[int]:
    """Token numbers after which nothing follows: `eos_token_id` of a model's metadata properties."""
    parts = (part.strip() for part in metadata.get("eos_token_id", "").split(","))
    return frozenset(int(part) for part in parts if part.isdigit())


def has_tokenizer(model: str | Path) -> bool:
    """Whether a tokenizer lies beside a model's file."""
    return (Path(model).parent / TOKENIZER_FILE).is_file()


def token_numbers(prompt: str) -> list[int]:
    """The prompt of a model without a tokenizer: its tokens' numbers.

    Raises:
        InputError: the prompt is something else.
    """
    parts = prompt.split()
    if not parts or not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(
            f"without a {TOKENIZER_FILE} beside the model the prompt is token numbers",
            help=f'write it as --prompt "5 17 2", or put the model\'s {TOKENIZER_FILE} there',
        )
    return [int(part) for part in parts]
