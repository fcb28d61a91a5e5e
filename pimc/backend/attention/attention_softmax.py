"""From scores to probabilities: scale, soft cap, bias, masks and softmax of one token's queries."""

from __future__ import annotations

from dataclasses import dataclass

from isa import Indexed, OperandValue
from passes import Value
from pimc.backend.attention.attention_block import Block
from pimc.backend.emitter import Words, indexed
from pimc.backend.lowering import KeyMask, MaskBounds
from pimc.backend.operations.normalization import softmax_rows


def softmax(block: Block, statistics: Words) -> None:
    """Emit `probabilities`, and zeros for what the banks hold beside the attended positions."""
    probabilities(block, statistics)
    _zero_outside(block, int(block.node.attributes["heads"]))


@dataclass(frozen=True)
class MaskedScores:
    """Scores of all heads, as a softmax takes them.

    Attributes:
        words: First word; a row of `Block.score_row` words a query head.
        length: Scores of a row.
        scale: Positive factor that is left to the softmax.
        bounds: Given when all scores of a row may be excluded.
        mask: The key mask when nothing else excludes scores.
    """

    words: Words
    length: OperandValue
    scale: float
    bounds: MaskBounds | None
    mask: KeyMask | None


def probabilities(block: Block, statistics: Words) -> None:
    """Emit the probabilities of all heads, up to the factor 1 / sum, which goes to `statistics`."""
    found, row = masked_scores(block), block.score_row
    extent = (int(block.node.attributes["heads"]), row, row)
    rest = (found.length, found.scale, found.bounds, found.mask)
    softmax_rows(block.low, found.words, found.words, statistics, extent, *rest)


def masked_scores(block: Block) -> MaskedScores:
    """Emit what cap, bias, masks and the cache's mechanism do to the scores."""
    low, extent = block.low, block.extent
    words = Words(block.scores.word, extent.first)
    length = indexed(0, extent.length)
    block.rooms.selection.convert_scores(block)
    scale = _scaled(block, words, length)
    block.rooms.mechanism.adjust_scores(block)
    bias = block.node.optional(4)
    if bias is not None:
        _add_bias(block, bias, words, length)
    mask = block.node.optional(3)
    if mask is not None:
        _add_mask(block, low.masks[mask], words, length)
    block.rooms.selection.choose(block)
    bounds = None if mask is None and bias is None else low.mask_bounds
    only_mask = low.masks[mask] if mask is not None and bias is None else None
    return MaskedScores(words, length, scale, bounds, only_mask)


def _scaled(block: Block, words: Words, length: OperandValue) -> float:
    """Scale and cap the scores where a later step needs them so; returns the factor that is left to the softmax."""
    low, attributes = block.low, block.node.attributes
    scale, cap = float(attributes["scale"]), float(attributes["softcap"])
    heads, row = int(attributes["heads"]), block.score_row
    if not cap and scale > 0 and block.node.optional(4) is None:
        return scale
    rows = {"dst_row": row, "a_row": row}
    place = words.operand
    if cap:
        low.emitter.emit("vmap", place, place, "tanh", length, heads, scale / cap, **rows)
        low.emitter.emit("vmap", place, place, "copy", length, heads, cap, **rows)
    else:
        low.emitter.emit("vmap", place, place, "copy", length, heads, scale, **rows)
    return 1.0


def _add_bias(block: Block, bias: Value, words: Words, length: OperandValue) -> None:
    """Add the bias [B|1, H|1, S|1, T|1] of the current sequence and token."""
    low, heads, row = block.low, int(block.node.attributes["heads"]), block.score_row
    view = low.storage.bias_row(bias)
    head_stride = view.strides[1] if view.shape[1] != 1 else 0
    step = view.strides[3] if view.shape[3] != 1 else 0
    place, first = view.words, block.extent.first
    register = None
    if first is not None and step:
        register = low.emitter.scalar("mul", first, step)
        if place.register is not None:
            low.emitter.emit("add", register, register, Indexed(0, place.register))
        place = Words(place.word, register)
    rows = {"dst_row": row, "a_row": row, "b_row": head_stride, "b_step": step}
    low.emitter.emit("vadd", words.operand, words.operand, place.operand, length, heads, **rows)
    if register is not None:
        low.emitter.release(register)


def _add_mask(block: Block, mask: KeyMask, words: Words, length: OperandValue) -> None:
    low, heads, row = block.low, int(block.node.attributes["heads"]), block.score_row
    register = block.extent.first
    owned = None
    if mask.row_words and low.storage.row is not None and low.storage.row.sequence is not None:
        offset = low.storage.offset_register("sequence", mask.row_words)
        register = offset if register is None else low.emitter.scalar("add", offset, Indexed(0, register))
        owned = register if register != offset else None
    place = indexed(mask.word, register)
    with low.masked(mask):
        low.emitter.emit("vadd", words.operand, words.operand, place, length, heads, dst_row=row, a_row=row)
    if owned is not None:
        low.emitter.release(owned)


def _zero_outside(block: Block, heads: int) -> None:
    """Probabilities of the visited positions before the first and after the last attended one become zero."""
    low, extent, emit = block.low, block.extent, block.low.emitter.emit
    layout = block.rooms.keys
    rest = low.emitter.scalar("mul", extent.slots, layout.slot_tokens)
    if extent.base is not None:
        emit("add", rest, rest, Indexed(0, extent.base))
    emit("sub", rest, rest, Indexed(0, extent.end))
    with low.emitter.unless_zero(rest):
        emit("vfill", indexed(block.scores.word, extent.end), 0.0, indexed(0, rest), heads, block.score_row)
    low.emitter.release(rest)
    if extent.first is not None:
        span = block.rooms.values.slots_per_row * layout.slot_tokens
        start = low.emitter.scalar("divu", extent.first, span)
        emit("mul", start, start, span)
        before = low.emitter.scalar("sub", extent.first, Indexed(0, start))
        with low.emitter.unless_zero(before):
            emit("vfill", indexed(block.scores.word, start), 0.0, indexed(0, before), heads, block.score_row)
        low.emitter.release(start, before)
