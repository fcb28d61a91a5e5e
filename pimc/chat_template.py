"""Chat templates of the ChatML form, recognised by their marks: templates are programs, and models may be hostile."""

from __future__ import annotations

import re

from isa import UnsupportedError

_TURN = "<|im_start|>{role}\n{words}<|im_end|>\n"
_DEFAULT_SYSTEM = re.compile(r"<\|im_start\|>system(?:\\n|\n)(?P<words>[^{}]*?)<\|im_end\|>")


def first_turn(template: str, prompt: str) -> str:
    """A conversation that opens with `prompt`, up to where the answer begins.

    The template's own system message comes first when it has one. A prompt that carries the marks itself is taken as
    it is: the user has written the conversation.

    Args:
        template: Jinja text from the model's metadata.
        prompt: The user's words.

    Raises:
        UnsupportedError: the template is not ChatML (`<|im_start|>role ... <|im_end|>`).
    """
    if "<|im_start|>" not in template or "<|im_end|>" not in template:
        raise UnsupportedError(
            "the model's chat template is not of the ChatML form",
            help="write the conversation into --prompt as the model expects it, and give --no-chat",
        )
    if "<|im_start|>" in prompt:
        return prompt
    system = _DEFAULT_SYSTEM.search(template)
    opening = _TURN.format(role="system", words=system["words"]) if system else ""
    return opening + _TURN.format(role="user", words=prompt) + "<|im_start|>assistant\n"
