"""The tokens of `pimc generate`: checked, counted and printed while they arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isa import Program, ResourceLimitError
    from pimc.text_model import TextModel


def check_numbers(prompt: Iterable[int], program: Program) -> None:
    """Refuse token numbers beyond the table that they are looked up in; raises `InputError`."""
    from isa import InputError
    from pimc.generation import token_input

    rows = program.metadata.get("table_rows", {}).get(token_input(program).name)
    beyond = [token for token in prompt if rows is not None and token >= rows]
    if beyond:
        raise InputError(
            f"the model has no token {beyond[0]}",
            notes=[f"its tokens are 0 to {rows - 1}"],
            help="does the tokenizer.json belong to another model?",
        )


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


def text_facts(stream: Iterable[int], text_model: TextModel | None) -> dict[str, Any]:
    """All tokens as JSON values, with their text where there is a tokenizer."""
    tokens = list(stream)
    text = {"text": text_model.decode(tokens)} if text_model else {}
    return {**text, "tokens": tokens}


def print_stream(start: str, stream: Iterable[int], text_model: TextModel | None) -> None:
    """Print text while its tokens arrive; a character that needs further tokens waits for them.

    Without a tokenizer it is the numbers of the tokens.
    """
    print(start, end="", flush=True)
    if text_model is None:
        for number, token in enumerate(stream):
            print(f" {token}" if start or number else token, end="", flush=True)
        print()
        return
    tokens: list[int] = []
    shown = 0
    for token in stream:
        tokens.append(token)
        text = text_model.decode(tokens)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            print(text[shown:], end="", flush=True)
            shown = len(text)
    print(text_model.decode(tokens)[shown:])
