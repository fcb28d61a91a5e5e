"""Weighted sums of quantised values: probabilities times scales against the codes, zero points added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isa import Indexed
from pimc.backend.attention.cache_append import group_channels
from pimc.backend.caches.code_rooms import CodeRooms, Codes, loaded_meta
from pimc.backend.caches.code_slots import Piece, pieces_of, slots_of
from pimc.backend.emitter import Words, indexed

if TYPE_CHECKING:
    from passes import Quantized
    from pimc.backend.attention.attention_block import Block


def sum_codes(block: Block, chosen: Quantized, rooms: CodeRooms, tokens: int, result: Words) -> None:
    """Emit result += sum over the quantised tokens of probability * (code * scale + zero)."""
    low, codes, emit = block.low, rooms.values, block.low.emitter.emit
    groups = low.emitter.scalar("divu", tokens, chosen.group)
    slots = slots_of(low, codes, tokens)
    heads, runs, number = codes.layout.kv_heads, codes.layout.head_dim // chosen.width, indexed(0, groups)
    rows = {"dst_row": codes.meta_words, "a_row": codes.meta_row}
    row = codes.layout.max_slots * codes.layout.slot_tokens
    with (
        loaded_meta(low, codes, groups, rooms.groups) as meta,
        low.storage.scratch(rooms.groups * codes.meta_words, "scales or zero points of the values") as factors,
        low.storage.scratch(heads * runs * row, "scaled probabilities") as scaled,
        low.storage.scratch(heads * runs * block.query_heads, "what zero points add") as added,
    ):
        emit("kunscale", factors.operand, meta.operand, "zero", codes.meta_words, number, **rows)
        for head in range(block.query_heads):
            _scale(block, codes, factors, head, runs, tokens, scaled, row)
            for kv_head in range(heads):
                place = (added + (kv_head * block.query_heads + head) * runs).operand
                source = (scaled + kv_head * runs * row).operand
                emit("rsum", place, source, indexed(0, tokens), runs, dst_row=1, a_row=row)
        emit("kunscale", factors.operand, meta.operand, "scale", codes.meta_words, number, **rows)
        for head in range(block.query_heads):
            _scale(block, codes, factors, head, runs, tokens, scaled, row)
            _clear_behind(block, codes, heads * runs, tokens, slots, scaled, row)
            for member in range(codes.layout.heads_per_group):
                _sum_head(block, chosen, codes, scaled, row, member, slots)
                _read_sums(block, codes, result + block.head(member, head) * codes.layout.head_dim)
        strides = {"dst_row": chosen.width, "a_row": chosen.width, "b_row": 1, "b_step": 0}
        all_runs = heads * block.query_heads * runs
        emit("vadd", result.operand, result.operand, added.operand, chosen.width, all_runs, **strides)
    low.emitter.release(groups, slots)


def _scale(
    block: Block, codes: Codes, factors: Words, head: int, runs: int, tokens: int, scaled: Words, row: int
) -> None:
    """scaled[head, run, token] = probability of query head `head` of each key/value head * factor."""
    heads = codes.layout.kv_heads
    source = (block.scores + head * block.score_row).operand
    strides = {
        "dst_row": runs * row,
        "a_row": block.query_heads * block.score_row,
        "b_row": runs,
        "b_step": heads * runs,
    }
    for run in range(runs):
        place, factor = (scaled + run * row).operand, (factors + run).operand
        block.low.emitter.emit("vmul", place, source, factor, indexed(0, tokens), heads, **strides)


def _clear_behind(block: Block, codes: Codes, rows: int, tokens: int, slots: int, scaled: Words, row: int) -> None:
    """The rest of the last slot gets probability 0."""
    low = block.low
    rest = low.emitter.scalar("mul", slots, codes.layout.slot_tokens)
    low.emitter.emit("sub", rest, rest, Indexed(0, tokens))
    with low.emitter.unless_zero(rest):
        low.emitter.emit("vfill", indexed(scaled.word, tokens), 0.0, indexed(0, rest), rows, dst_row=row)
    low.emitter.release(rest)


def _sum_head(block: Block, chosen: Quantized, codes: Codes, scaled: Words, row: int, member: int, slots: int) -> None:
    """Accumulate all stripes of a head over all slots, run by run."""
    low, layout = block.low, codes.layout
    stripes = chosen.width // layout.banks
    low.emitter.emit("wracc", ch=group_channels(layout), count=layout.head_columns)
    with pieces_of(low, codes, slots, low.near_bank.global_buffer_columns) as piece:
        beat = low.emitter.scalar("add", piece.row, Indexed(0, piece.place))
        for run in range(layout.head_dim // chosen.width):
            _write_scaled(block, chosen, codes, scaled, row, (member, run), piece)
            low.emitter.emit(
                "kmac",
                ch=group_channels(layout),
                addr=codes.address(member) + run * stripes * layout.slots_per_row // codes.beats,
                beat=indexed(run * stripes * layout.slots_per_row % codes.beats, beat),
                beats=indexed(0, piece.length),
                outs=stripes,
                acc=run * stripes,
                bstride=layout.slots_per_row,
                bits=codes.bits,
            )
        low.emitter.release(beat)


def _write_scaled(
    block: Block, chosen: Quantized, codes: Codes, scaled: Words, row: int, place: tuple[int, int], piece: Piece
) -> None:
    """Write the scaled probabilities of a piece to the channels that hold the values."""
    layout, runs = codes.layout, codes.layout.head_dim // chosen.width
    member, run = place
    block.low.emitter.emit(
        "wrgb",
        ch=group_channels(layout),
        src=indexed((scaled + (member * runs + run) * row).word, piece.token),
        cols=indexed(0, piece.length),
        cdiv=layout.channels_per_group,
        si=layout.heads_per_group * runs * row,
        sj=layout.banks,
        sn=layout.slot_tokens,
    )


def _read_sums(block: Block, codes: Codes, target: Words) -> None:
    layout = codes.layout
    block.low.emitter.emit(
        "rdacc",
        ch=group_channels(layout),
        count=layout.head_columns,
        dst=target.operand,
        cdiv=layout.channels_per_group,
        si=layout.heads_per_group * block.query_heads * layout.head_dim,
        sn=layout.banks,
        mode="add",
    )
