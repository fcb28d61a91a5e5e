"""Perplexity of the model itself, on ONNX Runtime over the same windows."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from isa import Program
from pimc.evaluation.window_run import negative_log_likelihood
from pimc.evaluation.windows import Windows
from pimc.generation import logits_port, token_input
from pimc.model_inputs import with_defaults
from pimc.reference import Reference


def reference_perplexity(
    program: Program, reference: Reference, windows: Windows, stepped: Callable[[int], None]
) -> float:
    """The perplexity that ONNX Runtime gives in binary32.

    Args:
        program: The compiled model, for its inputs.
        reference: The model.
        windows: The text.
        stepped: Called with the number of tokens after every window.

    Raises:
        UnsupportedError: the model has no logits.
        InputError: ONNX Runtime refuses the inputs.
    """
    port, name = token_input(program), logits_port(program).name
    loss, scored = 0.0, 0
    for number in range(windows.count):
        tokens, first = windows.window(number), windows.first_scored(number)
        inputs = with_defaults(program.ports, {port.name: tokens.astype(port.dtype)[None]})
        logits = np.asarray(reference.run(inputs)[name], np.float32)[0]
        loss += sum(negative_log_likelihood(logits[at - 1], int(tokens[at])) for at in range(first, len(tokens)))
        scored += windows.scored(number)
        stepped(len(tokens))
    return math.exp(loss / scored)
