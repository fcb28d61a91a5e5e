"""What does not fit is refused with demand, bound and levers: codes in the banks, scales and states in the buffer."""

from __future__ import annotations

import pytest
from attention_only import MACHINE, Attention

from isa import Machine, Program, ResourceLimitError
from passes import Compression, PlaceWeights, Quantized, Scored
from pimc.backend import ProgramOptions, build_program

KIVI = Compression(encoding=Quantized(4, 4, "channel", 32, 32, 128))
H2O = Compression(Scored(2048, 1, 1024, 0, 1, False))


def build(shape: Attention, machine: Machine) -> Program:
    graph = shape.graph()
    PlaceWeights(machine).run(graph)
    return build_program(graph, machine, ProgramOptions(shape.context, 4, "machine", {}))


def with_rows(rows: int) -> Machine:
    """A machine with few rows in each bank."""
    assert MACHINE.near_bank is not None
    return MACHINE.model_copy(update={"near_bank": MACHINE.near_bank.model_copy(update={"rows": rows})})


def with_buffer(kibibytes: int) -> Machine:
    """A machine with a small shared buffer."""
    buffer = MACHINE.shared_buffer.model_copy(update={"capacity_bytes": kibibytes << 10})
    return MACHINE.model_copy(update={"shared_buffer": buffer})


def test_codes_that_do_not_fit_the_banks() -> None:
    shape = Attention(KIVI, heads=24, kv_heads=8, head_dim=64, context=4096)
    with pytest.raises(ResourceLimitError) as refused:
        build(shape, with_rows(7))
    column_bytes = 32 * 16 * 32
    assert str(refused.value) == "\n".join(
        (
            "error: weights and KV cache do not fit the banks",
            f"note: demand: 0 bytes of weights, {(2 * 64 + 376) * column_bytes} bytes for 4096 tokens,"
            f" {376 * column_bytes} of them for codes and their scales",
            f"note: bound: {7 * 64 * column_bytes} bytes in 32 channels",
            "help: lower --max-context or the bits of codes, or choose a machine with more channels or rows",
        )
    )


def test_fewer_bits_make_room() -> None:
    shape = Attention(Compression(encoding=Quantized(2, 2, "token", 16, 64, 0)), 8, 8, 64, context=8192)
    eight = Attention(Compression(encoding=Quantized(8, 8, "token", 16, 64, 0)), 8, 8, 64, context=8192)
    build(shape, with_rows(14))
    with pytest.raises(ResourceLimitError, match="weights and KV cache do not fit the banks"):
        build(eight, with_rows(14))


def test_scales_that_do_not_fit_the_shared_buffer() -> None:
    shape = Attention(KIVI, heads=24, kv_heads=8, head_dim=64, context=4096)
    with pytest.raises(ResourceLimitError) as refused:
        build(shape, with_buffer(1024))
    message, demand, bound, helping = str(refused.value).splitlines()
    assert message == "error: the shared buffer has no room for scales, then zero points of the keys"
    assert demand == f"note: demand: {124 * 2 * 512 * 4} bytes in one piece"
    assert bound.endswith(" of 1048576 bytes are free in one piece")
    assert helping == (
        "help: lower --max-context, or choose a machine with a larger shared buffer; groups of more than 32 tokens,"
        " or runs of more than 32 channels have fewer scales"
    )


def test_states_that_do_not_fit_the_shared_buffer() -> None:
    shape = Attention(H2O, heads=8, kv_heads=8, head_dim=64, context=4096)
    with pytest.raises(ResourceLimitError) as refused:
        build(shape, with_buffer(64))
    message, _, bound, helping = str(refused.value).splitlines()
    assert message == "error: the shared buffer has no room for the state of the cache 'cache'"
    assert bound.endswith(" of 65536 bytes are free in one piece")
    assert helping == "help: lower --max-context, or choose a machine with a larger shared buffer"
