"""A softmax of comparisons, selections and tables, which nothing is divided for: exp((x - max) - ln(sum))."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isa import OperandValue
from pimc.backend.emitter import Emitter


@dataclass(frozen=True)
class SoftmaxRows:
    """Rows of scores, and words for what is computed on the way.

    Attributes:
        scores: First row; results take its place.
        exponentials: First of as many rows.
        largest: A word for each row.
        sums: A word for each row.
        length: Elements of a row.
        rows: Number of rows.
        row_words: Words from one row to the next.
        scale: Positive factor of the scores.
    """

    scores: OperandValue
    exponentials: OperandValue
    largest: OperandValue
    sums: OperandValue
    length: OperandValue
    rows: int
    row_words: int
    scale: float = 1.0


def emit_hybrid_softmax(
    emitter: Emitter,
    part: SoftmaxRows,
    bound_largest: Callable[[], None] | None = None,
    bound_sums: Callable[[], None] | None = None,
) -> None:
    """Emit softmax(scale * scores) of each row.

    Args:
        emitter: Receives the code.
        part: The rows.
        bound_largest: Emits what keeps the largest element of a row without any attended one finite.
        bound_sums: Emits what keeps the sum of such a row above zero.
    """
    emit, apart = emitter.emit, part.row_words
    row = {"len": part.length, "rows": part.rows, "a_row": apart}
    emit("xmax", part.largest, part.scores, **row)
    if bound_largest is not None:
        bound_largest()
    emit("xexp", part.exponentials, part.scores, part.largest, dst_row=apart, scale=part.scale, **row)
    emit("rsum", part.sums, part.exponentials, **row)
    if bound_sums is not None:
        bound_sums()
    emit("xlog", part.largest, part.largest, part.sums, part.rows, 1 / part.scale)
    emit("xexp", part.scores, part.scores, part.largest, dst_row=apart, scale=part.scale, **row)
