"""The phases of keys and values: their products, pruning, codes, and records off chip.

Records are written behind the last unit that works on keys and values, and read ahead of it for each generated token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from isa import Indexed, Source
from pimc.backend.digital_cim.block_code import BlockCode

RECORDS = "records"
"""Origin of transfers of keys and values off chip, whatever phase they stand in."""


class CachePhases(BlockCode):
    """Emits what happens to the keys and values of a block, and of its context."""

    def key(self) -> None:
        """Keys of all tokens."""
        with self._tokens(self.block.tokens, 0) as (token, position):
            self._product("key", 0, token, position, 0)

    def value(self) -> None:
        """Values of all tokens; without pruning and codes, they and the keys go off chip at once."""
        cache = self.layer.cache
        groups = self._all() if cache.has_records else self._kept()
        for tokens, first in groups:
            with self._tokens(tokens, first) as (token, position):
                self._product("value", self.layer.hidden, token, position, first)
                if not cache.has_records:
                    self._store(position)

    def prune(self) -> None:
        """Elements below the threshold become zero; without codes, the others go off chip."""
        is_last = not self.layer.cache.quantises
        for tokens, first in self._kept() if is_last else self._all():
            with self._tokens(tokens, first) as (_, position):
                self._prune_token(position)
                if is_last:
                    self._store(position)

    def quantise(self) -> None:
        """Survivors become codes, which go off chip."""
        for tokens, first in self._kept():
            with self._tokens(tokens, first) as (_, position):
                self._quantise_token(position)
                self._store(position)

    def dequantise(self) -> None:
        """Elements of the context from their codes."""
        emitter, tiles, places = self.emitter, self.tiles, self.places
        for cached in self.block.cached:
            with (
                emitter.loop(cached) as token,
                self.offset((token, tiles.row_words)) as row,
                emitter.loop(tiles.restore) as tile,
                self.offset((tile, tiles.restore_channels)) as channel,
            ):
                place = emitter.scalar("add", row, Indexed(0, channel))
                operands = (Indexed(places.cache, place), Indexed(places.codes, place))
                meta = Indexed(places.meta, channel)
                emitter.emit("ddequant", *operands, meta, tiles.restore_channels, activity=self.shares.dequantise)
                emitter.release(place)

    def _all(self) -> Iterator[tuple[int, int]]:
        """All tokens of the block as one group: their number, and the first one."""
        yield self.block.tokens, 0

    def _kept(self) -> Iterator[tuple[int, int]]:
        """Groups of tokens whose records are written; ahead of each generated one, the context is read."""
        first = self.block.tokens - len(self.block.cached)
        if first:
            yield first, 0
        for number, cached in enumerate(self.block.cached):
            with self.emitter.origin(Source(RECORDS)):
                self._load(cached)
            yield 1, first + number

    @contextmanager
    def _tokens(self, tokens: int, first: int) -> Iterator[tuple[int, int]]:
        """The body of a loop over tokens: the registers of the token, counted from `first` on, and of its position."""
        with self.tokens(tokens) as token, self.position(token) as position:
            if first:
                self.emitter.emit("add", position, position, first)
            yield token, position

    def _product(self, matrix: str, column: int, token: int, position: int, first: int) -> None:
        hidden, places = self.layer.hidden, self.places
        with self.offset((token, hidden)) as row, self.offset((position, self.tiles.row_words)) as result:
            vectors = (Indexed(places.cache + column, result), Indexed(places.normed + first * hidden, row))
            operands = (self.addend(matrix), matrix, hidden, hidden, "begin", self.scale(matrix))
            self.emitter.emit("dmvm", *vectors, *operands)

    @contextmanager
    def _tile(self, position: int, count: int, size: int) -> Iterator[tuple[int, int]]:
        """Body of a loop over tiles of a token: registers of a tile's first channel and of its first word."""
        emitter = self.emitter
        with (
            self.offset((position, self.tiles.row_words)) as row,
            emitter.loop(count) as tile,
            self.offset((tile, size)) as channel,
        ):
            place = emitter.scalar("add", row, Indexed(0, channel))
            yield channel, place
            emitter.release(place)

    def _prune_token(self, position: int) -> None:
        tiles = self.tiles
        with self._tile(position, tiles.prune, tiles.prune_elements) as (_, place):
            vector = Indexed(self.places.cache, place)
            self.emitter.emit("dprune", vector, vector, self.layer.numbers.threshold, tiles.prune_elements)

    def _quantise_token(self, position: int) -> None:
        tiles, places = self.tiles, self.places
        steps = (1 << self.layer.cache.code_bits) - 2
        with self._tile(position, tiles.code, tiles.code_channels) as (channel, place):
            operands = (Indexed(places.codes, place), Indexed(places.cache, place), Indexed(places.meta, channel))
            self.emitter.emit("dquant", *operands, tiles.code_channels, steps, activity=self.shares.quantise)

    def _store(self, position: int) -> None:
        """Put the keys and values of a token off chip."""
        emitter, places, words = self.emitter, self.places, self.tiles.row_words
        cache = self.layer.cache
        with (
            emitter.origin(Source(RECORDS)),
            self.offset((position, words)) as row,
            self.offset((position, places.slot)) as record,
        ):
            source = Indexed(places.codes if cache.quantises else places.cache, row)
            address = Indexed(places.records_at, record)
            if cache.has_records:
                emitter.emit("stnz", address, source, *self._record(1))
            else:
                emitter.emit("stoff", address, source, words)

    def _load(self, cached: int | Indexed) -> None:
        """Read the keys and values of the first `cached` tokens."""
        places, cache = self.places, self.layer.cache
        if cache.has_records:
            room = places.codes if cache.quantises else places.cache
            self.emitter.emit("ldnz", room, places.records_at, *self._record(cached))
        elif isinstance(cached, int):
            self.emitter.emit("ldoff", places.cache, places.records_at, cached * self.tiles.row_words)
        else:
            assert cached.register is not None
            with self.offset((cached.register, self.tiles.row_words)) as octets:
                self.emitter.emit("ldoff", places.cache, places.records_at, Indexed(0, octets))

    def _record(self, rows: int | Indexed) -> tuple[int | Indexed | str, ...]:
        words, cache = self.tiles.row_words, self.layer.cache
        declared = cache.record_bytes(self.layer.channels)
        content = "codes" if cache.quantises else "values"
        return (words, words, cache.record_bits, cache.record_bits, rows, self.places.slot, declared, content)
