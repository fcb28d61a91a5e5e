"""Scores of quantised keys: codes times the query in the banks, scales and zero points around them."""

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


def score_codes(block: Block, chosen: Quantized, rooms: CodeRooms, tokens: int) -> None:
    """Emit the scores of as many quantised tokens as the register `tokens` says; what lies behind is overwritten."""
    low = block.low
    groups = low.emitter.scalar("divu", tokens, chosen.group)
    slots = slots_of(low, rooms.keys, tokens)
    query = low.storage.aligned(block.node.operand(0), block.node)
    with low.contiguous(query) as words, loaded_meta(low, rooms.keys, groups, rooms.groups) as meta:
        if chosen.key_axis == "channel":
            _score_by_channel(block, chosen, rooms, words, meta, groups, slots)
        else:
            _score_by_token(block, chosen, rooms, words, meta, groups, slots)
    low.emitter.release(groups, slots)


def _score_by_channel(
    block: Block, chosen: Quantized, rooms: CodeRooms, query: Words, meta: Words, groups: int, slots: int
) -> None:
    """Score = (q * scale of the group) . codes + q . zero of the group."""
    low, codes, emit = block.low, rooms.keys, block.low.emitter.emit
    width, parts = codes.meta_words, chosen.group // codes.layout.banks
    units = codes.layout.max_slots * codes.layout.channels_per_group
    with (
        low.storage.scratch(units * width, "scales, then zero points of the keys") as factors,
        low.storage.scratch(units * width, "scaled queries") as scaled,
        low.storage.scratch(block.query_heads * width, "the queries of each key head") as packed,
    ):
        _pack_queries(block, codes, query, packed)
        strides = {"dst_row": parts * width, "a_row": codes.meta_row}
        for part in range(parts):
            place = (factors + part * width).operand
            emit("kunscale", place, meta.operand, "scale", width, indexed(0, groups), **strides)
        count = low.emitter.scalar("mul", groups, parts)
        strides = {"dst_row": width, "a_row": width}
        for head in range(block.query_heads):
            query_words = (packed + head * width).operand
            emit("vmul", scaled.operand, factors.operand, query_words, width, indexed(0, count), **strides)
            for member in range(codes.layout.heads_per_group):
                _score_scaled(block, codes, scaled, member, head, slots)
        low.emitter.release(count)
        strides = {"dst_row": width, "a_row": codes.meta_row}
        emit("kunscale", factors.operand, meta.operand, "zero", width, indexed(0, groups), **strides)
        _add_zeros(block, chosen, rooms, factors, packed, scaled, groups)


def _pack_queries(block: Block, codes: Codes, query: Words, packed: Words) -> None:
    """packed[query head, key/value head] = queries."""
    layout, emit = codes.layout, block.low.emitter.emit
    width = layout.head_dim
    strides = {"dst_row": width, "a_row": block.query_heads * width}
    for head in range(block.query_heads):
        place, source = (packed + head * codes.meta_words).operand, (query + head * width).operand
        emit("vmap", place, source, "copy", width, layout.kv_heads, **strides)


def _add_zeros(
    block: Block, chosen: Quantized, rooms: CodeRooms, zeros: Words, packed: Words, products: Words, groups: int
) -> None:
    """Add q . zero to the scores of each group; the exact scores may meanwhile be multiplied in the banks."""
    low, codes, emit = block.low, rooms.keys, block.low.emitter.emit
    heads, width = codes.layout.kv_heads, codes.meta_words
    rows = low.emitter.scalar("mul", groups, heads)
    with low.storage.scratch(rooms.groups * heads, "what zero points add") as added:
        for head in range(block.query_heads):
            strides, query = {"dst_row": width, "a_row": width}, (packed + head * width).operand
            emit("vmul", products.operand, zeros.operand, query, width, indexed(0, groups), **strides)
            size = codes.layout.head_dim
            emit("rsum", added.operand, products.operand, size, indexed(0, rows), a_row=size)
            _add_to_groups(block, chosen, codes, added, head, groups)
    low.emitter.release(rows)


def _score_scaled(block: Block, codes: Codes, scaled: Words, member: int, head: int, slots: int) -> None:
    """Multiply by a query of its own for every 16 tokens, which the global buffer holds slot by slot."""
    low, layout, emit = block.low, codes.layout, block.low.emitter.emit
    everyone, beats = group_channels(layout), layout.head_columns
    most = min(low.near_bank.global_buffer_columns // beats, low.near_bank.accumulators)
    with pieces_of(low, codes, slots, most) as piece:
        with low.emitter.loop(indexed(0, piece.length)) as index:
            source = low.emitter.scalar("add", piece.slot, Indexed(0, index))
            emit("mul", source, source, layout.channels_per_group * codes.meta_words)
            column = low.emitter.scalar("mul", index, beats)
            emit(
                "wrgb",
                ch=everyone,
                gb=indexed(0, column),
                src=indexed((scaled + member * layout.head_dim).word, source),
                cols=beats,
                cdiv=layout.channels_per_group,
                si=layout.heads_per_group * layout.head_dim,
                sj=codes.meta_words,
                sn=low.near_bank.lanes,
            )
            low.emitter.release(source, column)
        emit("wracc", ch=everyone, count=most)
        multiply_slots(block, codes, member, piece, gstride=beats)
        read_slots(block, codes, block.scores + block.head(member, head) * block.score_row, piece)


def multiply_slots(
    block: Block,
    codes: Codes,
    member: int,
    piece: Piece,
    first_beat: int = 0,
    beats: int | None = None,
    gstride: int = 0,
) -> None:
    """Emit acc[slot] += codes . global buffer for some slots, over all beats of a key or some of them."""
    layout, emit = codes.layout, block.low.emitter.emit
    beat = block.low.emitter.scalar("mul", piece.place, layout.head_columns)
    emit("add", beat, beat, Indexed(0, piece.row))
    emit(
        "kmac",
        ch=group_channels(layout),
        addr=codes.address(member),
        beat=indexed(first_beat, beat),
        gb=first_beat,
        beats=layout.head_columns if beats is None else beats,
        outs=indexed(0, piece.length),
        bstride=layout.head_columns,
        gstride=gstride,
        bits=codes.bits,
    )
    block.low.emitter.release(beat)


def read_slots(block: Block, codes: Codes, target: Words, piece: Piece) -> None:
    """Read the accumulators of a piece to the scores of one query head in every group, in the order of tokens."""
    layout = codes.layout
    block.low.emitter.emit(
        "rdacc",
        ch=group_channels(layout),
        count=indexed(0, piece.length),
        dst=indexed(target.word, piece.token),
        cdiv=layout.channels_per_group,
        si=layout.heads_per_group * block.query_heads * block.score_row,
        sj=layout.banks,
        sn=layout.slot_tokens,
    )


def _add_to_groups(block: Block, chosen: Quantized, codes: Codes, added: Words, head: int, groups: int) -> None:
    for kv_head in range(codes.layout.kv_heads):
        place = (block.scores + (kv_head * block.query_heads + head) * block.score_row).operand
        strides = {"dst_row": chosen.group, "a_row": chosen.group, "b_row": codes.layout.kv_heads, "b_step": 0}
        words = (added + kv_head).operand
        block.low.emitter.emit("vadd", place, place, words, chosen.group, indexed(0, groups), **strides)


def _score_by_token(
    block: Block, chosen: Quantized, rooms: CodeRooms, query: Words, meta: Words, groups: int, slots: int
) -> None:
    """Score = sum over runs of channels of scale * (q . codes) + zero * (sum of q)."""
    low, codes, emit = block.low, rooms.keys, block.low.emitter.emit
    runs = codes.layout.head_dim // chosen.width
    heads, number = codes.layout.kv_heads, indexed(0, groups)
    rows = {"dst_row": codes.meta_words, "a_row": codes.meta_row}
    with (
        low.storage.scratch(rooms.groups * codes.meta_words, "scales of the keys") as scales,
        low.storage.scratch(rooms.groups * codes.meta_words, "zero points of the keys") as zeros,
        low.storage.scratch(heads * block.query_heads * runs, "sums of the queries") as sums,
        low.storage.scratch(heads * block.query_heads * block.score_row if runs > 1 else 0, "scores of a run") as other,
    ):
        emit("kunscale", scales.operand, meta.operand, "scale", codes.meta_words, number, **rows)
        emit("kunscale", zeros.operand, meta.operand, "zero", codes.meta_words, number, **rows)
        all_runs = heads * block.query_heads * runs
        emit("rsum", sums.operand, query.operand, chosen.width, all_runs, a_row=chosen.width)
        tokens = low.emitter.scalar("mul", groups, chosen.group)
        for run in range(runs):
            raw = other if run else block.scores
            _multiply_run(block, chosen, codes, query, run, raw, slots)
            for head in range(heads * block.query_heads):
                word = head // block.query_heads * runs + run
                place, length = (block.scores + head * block.score_row).operand, indexed(0, tokens)
                source, scale = (raw + head * block.score_row).operand, (scales + word).operand
                emit("vmac" if run else "vmul", place, source, scale, length, b_step=heads * runs)
                zero, total = (zeros + word).operand, (sums + head * runs + run).operand
                emit("vmac", place, zero, total, length, a_step=heads * runs, b_step=0)
        low.emitter.release(tokens)


def _multiply_run(
    block: Block, chosen: Quantized, codes: Codes, query: Words, run: int, target: Words, slots: int
) -> None:
    """q . codes over one run of channels, for all heads."""
    low, layout, emit = block.low, codes.layout, block.low.emitter.emit
    everyone, beats = group_channels(layout), chosen.width // layout.banks
    for member in range(layout.heads_per_group):
        for head in range(block.query_heads):
            emit(
                "wrgb",
                ch=everyone,
                src=(query + block.head(member, head) * layout.head_dim).operand,
                cols=layout.head_columns,
                cdiv=layout.channels_per_group,
                si=layout.heads_per_group * block.query_heads * layout.head_dim,
                sn=low.near_bank.lanes,
            )
            with pieces_of(low, codes, slots, low.near_bank.accumulators) as piece:
                emit("wracc", ch=everyone, count=low.near_bank.accumulators)
                multiply_slots(block, codes, member, piece, run * beats, beats)
                read_slots(block, codes, target + block.head(member, head) * block.score_row, piece)
