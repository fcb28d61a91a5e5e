"""Entries of an encoder-decoder program share the codes and records of a compressed cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import Port, Program, check_program, load_machine
from pimc.compiler import compile_model
from pimc.simulator import Session

FOLDER = Path(__file__).parents[4] / "models" / "corpus" / "encoder-decoders" / "bart-dynamo"
MACHINE = load_machine("gddr6-aim")
SOURCE = np.array([[5, 9, 4, 17, 23, 8]])
WRITTEN = np.array([[3, 12, 7, 19, 4, 25, 11, 6]])


def given(program: Program, entry: str, tokens: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Token numbers and full masks for the inputs that no other entry fills."""
    ports: list[Port] = [port for port in program.part(entry).ports if port.direction == "input"]
    asked = [port for port in ports if port.kind not in ("past", "given") and not port.filled_by]
    return {
        port.name: tokens.astype(port.dtype) if "input_ids" in port.name else np.ones_like(SOURCE, port.dtype)
        for port in asked
        if port.dtype != "float32"
    }


def logits(kv: str | None) -> tuple[Program, NDArray[Any]]:
    """Two tokens at once, then token by token."""
    program = compile_model(str(FOLDER), MACHINE, max_context=48, kv=kv, numerics="fp32")
    session = Session(program, MACHINE)
    session.run(given(program, "encode", SOURCE), entry="encode")
    found = [session.run(given(program, "prefill", WRITTEN[:, :2]), ["logits"], entry="prefill")["logits"][:, -1]]
    for place in range(2, WRITTEN.shape[1]):
        inputs = given(program, "decode", WRITTEN[:, place : place + 1])
        found.append(session.run(inputs, ["logits"], entry="decode")["logits"][:, -1])
    return program, np.concatenate(found)


def test_a_decoder_goes_on_with_the_records_of_the_prefill() -> None:
    _, exact = logits(None)
    program, pruned = logits("cpq:warmup=3,bits_k=8,bits_v=8")
    assert check_program(program, MACHINE) == []
    assert [region.name for region in program.regions if region.element == "code"] == ["prefill.kv_codes"]
    np.testing.assert_allclose(pruned[:2], exact[:2], atol=1e-5)
    np.testing.assert_allclose(pruned, exact, atol=0.01)
    assert np.abs(pruned[2:] - exact[2:]).max() > 1e-5
