"""The phases of a layer on a core: every unit works on all tokens of a block before the next one begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from isa import DIGITAL_CIM_MATRICES, DigitalCim, Indexed, Source
from pimc.backend.digital_cim.layer import Activities, CimLayer, Rooms, Tiling
from pimc.backend.emitter import Emitter, indexed

RECORDS = "records"
"""Origin of transfers of codes, whose phase is that of quantisation."""


@dataclass(frozen=True)
class Block:
    """Tokens that go through the layer together.

    Attributes:
        tokens: How many.
        columns: Words of a head's scores; the longest context of one of them.
        position: Register with the number of tokens before them, or `None` when they are the first.
        cached: For each step of a generation that the block stands for, the tokens before it, whose codes are read and
            dequantised: numbers, or the register `position`.
    """

    tokens: int
    columns: int
    position: int | None = None
    cached: tuple[int | Indexed, ...] = ()


class Phases:
    """Emits the phases of one block."""

    def __init__(
        self,
        emitter: Emitter,
        layer: CimLayer,
        core: DigitalCim,
        tiles: Tiling,
        places: Rooms,
        shares: Activities,
        block: Block,
    ) -> None:
        """Everything that the phases need; nothing is emitted yet."""
        self.emitter, self.layer, self.core, self.tiles = emitter, layer, core, tiles
        self.places, self.shares, self.block = places, shares, block

    def emit(self) -> None:
        """All phases, from the inputs off chip to the outputs, which stay in the room of the residual."""
        layer, places = self.layer, self.places
        steps: Iterable[tuple[str, Callable[[], None]]] = (
            ("inputs", self._inputs),
            ("norm_1", lambda: self._norm(places.gains)),
            ("query", lambda: self._product("query", places.query, layer.hidden)),
            ("key", lambda: self._cache_product("key", 0)),
            ("value", lambda: self._cache_product("value", layer.hidden)),
            ("prune", self._prune),
            ("quantise", self._quantise),
            ("dequantise", self._dequantise),
            ("scores", self._scores),
            ("softmax", self._softmax),
            ("values", self._values),
            ("output", lambda: self._onto_residual("output", places.query, layer.hidden, layer.hidden)),
            ("norm_2", lambda: self._norm(places.gains + 2 * layer.hidden)),
            ("up", self._up),
            ("relu", self._relu),
            ("down", lambda: self._onto_residual("down", places.middle, layer.feed_forward, self._middle_words)),
        )
        for name, step in steps:
            with self.emitter.origin(Source(name)):
                step()

    @property
    def _middle_words(self) -> int:
        return self.tiles.relu * self.tiles.relu_elements

    @contextmanager
    def _offset(self, *terms: tuple[int, int]) -> Iterator[int]:
        """A register with the sum of register * factor."""
        emitter = self.emitter
        total = emitter.register()
        (first, factor), *further = terms
        emitter.emit("mul", total, first, factor)
        for register, factor in further:
            part = emitter.scalar("mul", register, factor)
            emitter.emit("add", total, total, Indexed(0, part))
            emitter.release(part)
        yield total
        emitter.release(total)

    @contextmanager
    def _position(self, token: int) -> Iterator[int]:
        """A register with the position of a token of the block."""
        position = self.emitter.scalar("add", token, indexed(0, self.block.position))
        yield position
        self.emitter.release(position)

    def _inputs(self) -> None:
        octets = self.block.tokens * self.layer.hidden
        self.emitter.emit("ldoff", self.places.residual, self.places.inputs_at, octets)

    def _norm(self, gains: int) -> None:
        layer, places, full = self.layer, self.places, self.tiles.norm[0]
        whole = sum(count == full for count in self.tiles.norm)
        with self.emitter.loop(self.block.tokens) as token, self._offset((token, layer.hidden)) as row:
            vectors = (Indexed(places.normed, row), Indexed(places.residual, row))
            with self.emitter.loop(whole) as tile, self._offset((tile, full)) as first:
                self.emitter.emit("dnorm", *vectors, gains, layer.hidden, Indexed(0, first), full)
            for count in self.tiles.norm[whole:]:
                self.emitter.emit("dnorm", *vectors, gains, layer.hidden, whole * full, count)

    def _product(self, matrix: str, dst: int, outputs: int) -> None:
        """A product of every normalised vector with a matrix, behind one another."""
        layer, addend = self.layer, self._addend(matrix)
        with (
            self.emitter.loop(self.block.tokens) as token,
            self._offset((token, layer.hidden)) as row,
            self._offset((token, outputs)) as result,
        ):
            vectors = (Indexed(dst, result), Indexed(self.places.normed, row), addend)
            self.emitter.emit("dmvm", *vectors, matrix, layer.hidden, outputs, "begin", self._scale(matrix))

    def _scale(self, matrix: str) -> float:
        return self.layer.numbers.scales[DIGITAL_CIM_MATRICES.index(matrix)]

    def _addend(self, matrix: str) -> int:
        return self.places.addends + ("query", "key", "value", "up").index(matrix) * self.layer.hidden

    def _cache_product(self, matrix: str, column: int) -> None:
        layer, places = self.layer, self.places
        with (
            self.emitter.loop(self.block.tokens) as token,
            self._offset((token, layer.hidden)) as row,
            self._position(token) as position,
            self._offset((position, self.tiles.row_words)) as result,
        ):
            vectors = (Indexed(places.cache + column, result), Indexed(places.normed, row), self._addend(matrix))
            self.emitter.emit("dmvm", *vectors, matrix, layer.hidden, layer.hidden, "begin", self._scale(matrix))

    @contextmanager
    def _tiles_of_cache(self, tokens: int | Indexed, count: int, size: int, is_block: bool) -> Iterator[int]:
        """Loops over tokens, of the block or of the context, and tiles; gives the register of a tile's first word."""
        emitter = self.emitter
        with emitter.loop(tokens) as token, emitter.loop(count) as tile:
            if is_block:
                with (
                    self._position(token) as position,
                    self._offset((position, self.tiles.row_words), (tile, size)) as place,
                ):
                    yield place
            else:
                with self._offset((token, self.tiles.row_words), (tile, size)) as place:
                    yield place

    def _prune(self) -> None:
        tiles, places = self.tiles, self.places
        with self._tiles_of_cache(self.block.tokens, tiles.prune, tiles.prune_elements, True) as place:
            vector = Indexed(places.cache, place)
            self.emitter.emit("dprune", vector, vector, self.layer.numbers.threshold, tiles.prune_elements)

    def _quantise(self) -> None:
        """Quantise and store what the block adds; read ahead what its steps need of the context before them."""
        block = self.block
        first = block.tokens - len(block.cached)
        if first:
            self._quantise_tokens(first, 0)
        for number, cached in enumerate(block.cached):
            with self.emitter.origin(Source(RECORDS)):
                self._load_records(cached)
            self._quantise_tokens(1, first + number)

    def _quantise_tokens(self, tokens: int, first: int) -> None:
        emitter, tiles, places = self.emitter, self.tiles, self.places
        steps = (1 << self.layer.cache.code_bits) - 2
        with emitter.loop(tokens) as token, self._position(token) as position:
            emitter.emit("add", position, position, first)
            with self._offset((position, tiles.row_words)) as row:
                with emitter.loop(tiles.code) as tile, self._offset((tile, tiles.code_channels)) as channel:
                    place = emitter.scalar("add", row, Indexed(0, channel))
                    operands = (Indexed(places.codes, place), Indexed(places.cache, place))
                    meta = Indexed(places.meta, channel)
                    emitter.emit("dquant", *operands, meta, tiles.code_channels, steps, activity=self.shares.quantise)
                    emitter.release(place)
                with emitter.origin(Source(RECORDS)), self._offset((position, places.slot)) as record:
                    address = Indexed(places.records_at, record)
                    emitter.emit("stnz", address, Indexed(places.codes, row), *self._record(1))

    def _record(self, rows: int | Indexed) -> tuple[int | Indexed, ...]:
        words, bits = self.tiles.row_words, self.layer.cache.code_bits
        declared = self.layer.cache.record_bytes(self.layer.channels)
        return (words, words, bits, bits, rows, self.places.slot, declared)

    def _load_records(self, cached: int | Indexed) -> None:
        self.emitter.emit("ldnz", self.places.codes, self.places.records_at, *self._record(cached))

    def _dequantise(self) -> None:
        emitter, tiles, places = self.emitter, self.tiles, self.places
        for cached in self.block.cached:
            with (
                emitter.loop(cached) as token,
                self._offset((token, tiles.row_words)) as row,
                emitter.loop(tiles.code) as tile,
                self._offset((tile, tiles.code_channels)) as channel,
            ):
                place = emitter.scalar("add", row, Indexed(0, channel))
                operands = (Indexed(places.cache, place), Indexed(places.codes, place))
                meta = Indexed(places.meta, channel)
                emitter.emit("ddequant", *operands, meta, tiles.code_channels, activity=self.shares.dequantise)
                emitter.release(place)

    @contextmanager
    def _context(self, token: int) -> Iterator[int]:
        """A register with the number of tokens that a token of the block attends to."""
        with self._position(token) as position:
            length = self.emitter.scalar("add", position, 1)
            yield length
            self.emitter.release(length)

    @contextmanager
    def _covering(self, length: int, lanes: int) -> Iterator[int]:
        """A register with ceil(length / lanes)."""
        emitter = self.emitter
        tiles = emitter.scalar("add", length, lanes - 1)
        emitter.emit("divu", tiles, tiles, lanes)
        yield tiles
        emitter.release(tiles)

    @property
    def _score_row(self) -> int:
        return self.layer.heads * self.block.columns

    def _scores(self) -> None:
        emitter, layer, places, width = self.emitter, self.layer, self.places, self.layer.head_width
        passes = -(-width // self.core.engines.lanes)
        with (
            emitter.loop(self.block.tokens) as token,
            self._context(token) as length,
            self._offset((token, layer.hidden)) as query,
            emitter.loop(Indexed(0, length)) as key,
            self._offset((token, self._score_row), (key, 1)) as score,
            self._offset((key, self.tiles.row_words)) as row,
        ):
            vectors = (Indexed(places.scores, score), Indexed(places.query, query), Indexed(places.cache, row))
            strides = (self.block.columns, width, width, 1)
            scale = self.layer.numbers.score_step * width**-0.5
            emitter.emit("ddot", *vectors, width, passes, layer.heads, *strides, scale, activity=self.shares.scores)

    def _softmax(self) -> None:
        emitter, lanes, columns = self.emitter, self.core.softmax.lanes, self.block.columns
        with (
            emitter.loop(self.block.tokens) as token,
            self._context(token) as length,
            self._offset((token, self._score_row)) as row,
            self._covering(length, lanes) as passes,
        ):
            scores = Indexed(self.places.scores, row)
            sizes = (Indexed(0, length), Indexed(0, passes), self.layer.heads)
            emitter.emit("dsoftmax", scores, scores, *sizes, columns, columns)

    def _values(self) -> None:
        """Dot products of probabilities with a column of the values, all heads at once."""
        emitter, layer, places, width = self.emitter, self.layer, self.places, self.layer.head_width
        with (
            emitter.loop(self.block.tokens) as token,
            self._context(token) as length,
            self._covering(length, self.core.engines.lanes) as passes,
            self._offset((token, self._score_row)) as row,
            emitter.loop(width) as column,
            self._offset((token, layer.hidden), (column, 1)) as result,
        ):
            values = Indexed(places.cache + layer.hidden, column)
            vectors = (Indexed(places.query, result), Indexed(places.scores, row), values)
            strides = (width, self.block.columns, width, self.tiles.row_words)
            sizes = (Indexed(0, length), Indexed(0, passes), layer.heads)
            emitter.emit("ddot", *vectors, *sizes, *strides, 1 / 127, activity=self.shares.values)

    def _onto_residual(self, matrix: str, source: int, inputs: int, source_row: int) -> None:
        layer, places = self.layer, self.places
        with (
            self.emitter.loop(self.block.tokens) as token,
            self._offset((token, layer.hidden)) as row,
            self._offset((token, source_row)) as vector,
        ):
            residual = Indexed(places.residual, row)
            operands = (residual, Indexed(source, vector), residual, matrix, inputs, layer.hidden)
            self.emitter.emit("dmvm", *operands, "begin", self._scale(matrix))

    def _up(self) -> None:
        layer, places = self.layer, self.places
        with (
            self.emitter.loop(self.block.tokens) as token,
            self._offset((token, layer.hidden)) as row,
            self._offset((token, self._middle_words)) as result,
        ):
            vectors = (Indexed(places.middle, result), Indexed(places.normed, row), self._addend("up"))
            self.emitter.emit("dmvm", *vectors, "up", layer.hidden, layer.feed_forward, "begin", self._scale("up"))

    def _relu(self) -> None:
        tiles, places = self.tiles, self.places
        with (
            self.emitter.loop(self.block.tokens) as token,
            self.emitter.loop(tiles.relu) as tile,
            self._offset((token, self._middle_words), (tile, tiles.relu_elements)) as place,
        ):
            vector = Indexed(places.middle, place)
            self.emitter.emit("drelu", vector, vector, tiles.relu_elements)
