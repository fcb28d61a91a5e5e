"""The code of an attention on a CAM: new keys and values, then for each query head search, ranking, sum of values.

The search of a head goes tile by tile. Candidates fill the register up to the first merge; from then on the kept ones
lie at its beginning, and those of further tiles behind them. Heads use the halves of value and output buffer in turn,
so that the search of one overlaps the normalisation and contextualisation of the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

from isa import Indexed
from pimc.backend.cam.search_plan import SearchPlan
from pimc.backend.emitter import Emitter, Words


@dataclass(frozen=True)
class AttentionWords:
    """First words in the shared buffer.

    Attributes:
        query: Of the query, heads one behind the other.
        key: Of the new key.
        value: Of the new value.
        result: Of the result.
    """

    query: int
    key: int
    value: int
    result: int


@dataclass(frozen=True)
class SearchedKeys:
    """What a query head searches.

    Attributes:
        first_row: First row of its keys and values in their memories.
        count: Register with the number of keys.
        tiles: Register with the number of tiles.
    """

    first_row: Words
    count: int
    tiles: int


@dataclass(frozen=True)
class QueryHead:
    """A query head.

    Attributes:
        query: First word of its query.
        result: First word of its result.
        half: Half of value buffer and output buffer that it uses.
    """

    query: int | Indexed
    result: int | Indexed
    half: int | Indexed


def emit_attention(emitter: Emitter, plan: SearchPlan, words: AttentionWords, kv_length: int) -> None:
    """Emit the attention of one new token.

    Args:
        emitter: Receives the code.
        plan: What is searched.
        words: Where operands lie.
        kv_length: Register with the number of earlier tokens.
    """
    count = emitter.scalar("add", kv_length, 1)
    above = emitter.scalar("add", count, plan.cam.rows - 1)
    tiles = emitter.scalar("divu", above, plan.cam.rows)
    sharing = plan.heads // plan.cache.kv_heads
    with emitter.loop(plan.cache.kv_heads) as group:
        first_row = emitter.scalar("mul", group, plan.context)
        _append(emitter, plan, words, (group, first_row, kv_length))
        keys = SearchedKeys(Words(0, first_row), count, tiles)
        first_head = emitter.scalar("mul", group, sharing)
        with emitter.loop(sharing) as member:
            head = emitter.scalar("add", first_head, Indexed(0, member))
            half = emitter.scalar("remu", head, 2)
            query = emitter.scalar("mul", head, plan.cache.head_dim)
            result = emitter.scalar("mul", head, plan.cache.value_dim)
            places = QueryHead(Indexed(words.query, query), Indexed(words.result, result), Indexed(0, half))
            emit_head(emitter, plan, keys, places)
            emitter.release(head, half, query, result)
        emitter.release(first_row, first_head)
    emitter.release(count, above, tiles)


def _append(emitter: Emitter, plan: SearchPlan, words: AttentionWords, registers: tuple[int, int, int]) -> None:
    """Put the signs of a head's new key and its new value behind those of earlier tokens."""
    cache, (group, first_row, kv_length) = plan.cache, registers
    row = emitter.scalar("add", first_row, Indexed(0, kv_length))
    key = emitter.scalar("mul", group, cache.head_dim)
    value = emitter.scalar("mul", group, cache.value_dim)
    emitter.emit("cstore", Indexed(0, row), Indexed(words.key, key), cache.head_dim)
    emitter.emit("cvalue", Indexed(0, row), Indexed(words.value, value), cache.value_dim)
    emitter.release(row, key, value)


def emit_head(emitter: Emitter, plan: SearchPlan, keys: SearchedKeys, head: QueryHead) -> None:
    """Emit the attention of a query head to the keys that were stored."""
    selection, width = plan.selection, plan.cache.value_dim
    emitter.emit("cquery", head.query, plan.cache.head_dim)
    count = _search(emitter, plan, keys, head.half)
    emitter.emit("ctop", Indexed(0, count), selection.count)
    emitter.emit(
        "cexp", selection.count, plan.cache.head_dim, selection.code_bits, float(plan.node.attributes["scale"])
    )
    emitter.emit("cdiv", selection.count, head.half)
    emitter.emit("cmac", head.result, selection.count, width, head.half)
    emitter.release(count)


def _search(emitter: Emitter, plan: SearchPlan, keys: SearchedKeys, half: int | Indexed) -> int:
    """Search all tiles; gives the register with the number of candidates."""
    top, cam = plan.selection.tile_top, plan.cam
    first = emitter.scalar("min", keys.tiles, plan.first_tiles)
    with emitter.loop(Indexed(0, first)) as tile:
        _search_tile(emitter, plan, keys, half, _Tile(tile, tile, 0))
    count = emitter.scalar("mul", first, top)
    if plan.most_tiles > plan.first_tiles:
        rest = emitter.scalar("sub", keys.tiles, Indexed(0, first))
        above = emitter.scalar("add", rest, cam.merge_tiles - 1)
        chunks = emitter.scalar("divu", above, cam.merge_tiles)
        with emitter.loop(Indexed(0, chunks)) as chunk:
            emitter.emit("cmerge", Indexed(0, count), cam.kept)
            begin = emitter.scalar("mul", chunk, cam.merge_tiles)
            own = emitter.scalar("sub", rest, Indexed(0, begin))
            emitter.emit("min", own, own, cam.merge_tiles)
            with emitter.loop(Indexed(0, own)) as place:
                tile = emitter.scalar("add", begin, Indexed(0, place))
                emitter.emit("add", tile, tile, Indexed(0, first))
                _search_tile(emitter, plan, keys, half, _Tile(tile, place, cam.kept))
                emitter.release(tile)
            emitter.emit("mul", count, own, top)
            emitter.emit("add", count, count, cam.kept)
            emitter.release(begin, own)
        emitter.release(rest, above, chunks)
    emitter.release(first)
    return count


@dataclass(frozen=True)
class _Tile:
    """A tile of keys.

    Attributes:
        number: Register with its number.
        place: Register with its number since the latest merge.
        entry: First entry of the candidate register that tiles use since then.
    """

    number: int
    place: int
    entry: int


def _search_tile(emitter: Emitter, plan: SearchPlan, keys: SearchedKeys, half: int | Indexed, tile: _Tile) -> None:
    """Program a tile, search it, fetch the values of its candidates to a half of the value buffer."""
    top, bits, first = plan.selection.tile_top, plan.selection.code_bits, keys.first_row
    index = emitter.scalar("mul", tile.number, plan.cam.rows)
    key = index if first.register is None else emitter.scalar("add", index, Indexed(0, first.register))
    left = emitter.scalar("sub", keys.count, Indexed(0, index))
    candidate = emitter.scalar("mul", tile.place, top)
    row = emitter.scalar("mul", tile.number, top)
    entries, rows = Indexed(tile.entry, candidate), Indexed(0, row)
    emitter.emit("cprog", Indexed(first.word, key), Indexed(0, left))
    emitter.emit("csearch", entries, Indexed(0, index), rows, top, bits)
    emitter.emit("cfetch", entries, first.operand, rows, half, top)
    emitter.release(index, left, candidate, row, *([] if key == index else [key]))
