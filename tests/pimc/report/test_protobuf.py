"""Messages as the protocol buffer format defines them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pimc.report.protobuf import constant, doubles, joined, message, nested, varint, varint_width, varints


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def read(data: bytes) -> list[tuple[int, int | bytes]]:
    """Fields of a message; numbers of 8 bytes and texts as bytes."""
    fields: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        if tag & 7 == 0:
            value, at = read_varint(data, at)
            fields.append((tag >> 3, value))
            continue
        size = 8
        if tag & 7 == 2:
            size, at = read_varint(data, at)
        fields.append((tag >> 3, data[at : at + size]))
        at += size
    return fields


def test_fields_of_every_kind() -> None:
    data = message((1, 300), (2, "name"), (44, 0.5), (60, message((3, 0))))
    assert read(data) == [(1, 300), (2, b"name"), (44, np.float64(0.5).tobytes()), (60, b"\x18\0")]


@given(st.integers(0, 1 << 62))
def test_varints_are_read_back(value: int) -> None:
    assert read_varint(varint(value), 0) == (value, varint_width(value))


@given(st.lists(st.integers(0, 1 << 40), min_size=1), st.integers(0, 3))
def test_many_messages_equal_single_ones(values: list[int], more: int) -> None:
    numbers = np.array(values)
    width = varint_width(max(values)) + more
    halves = numbers / 2
    table = nested(
        7, joined([varints(3, numbers, width), doubles(44, halves), constant(message((5, "x")), len(values))])
    )
    for row, value, half in zip(table, values, halves, strict=True):
        ((field, inner),) = read(row.tobytes())
        assert field == 7
        assert isinstance(inner, bytes)
        assert read(inner) == [(3, value), (44, half.tobytes()), (5, b"x")]
