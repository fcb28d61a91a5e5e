"""The phases of a layer on a core: every unit works on all tokens of a block before the next one begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from isa import DigitalCim, Indexed, Source
from pimc.backend.digital_cim.block_code import Block, BlockCode
from pimc.backend.digital_cim.cache_phases import CachePhases
from pimc.backend.digital_cim.layer import Activities, CimLayer
from pimc.backend.digital_cim.rooms import Rooms, Tiling
from pimc.backend.emitter import Emitter


class Phases(BlockCode):
    """Emits the phases of one block."""

    def emit(self) -> None:
        """All phases, from the inputs off chip to the outputs, in the room of the residual and off chip."""
        self.inputs()
        if self.block.by_token:
            self._pipeline()
        else:
            self.project()
            self.score()
            self.forward()
        if self.block.is_stored:
            self.outputs()

    def _pipeline(self) -> None:
        """Token by token, in three parts that lag a token each, so that none waits for what the one before it does."""
        last = self.block.tokens - 1
        self._at(0, Phases.project)
        if last:
            self._at(1, Phases.project)
            self._at(0, Phases.score)
            with self.emitter.loop(last - 1) as first:
                for lag, part in ((2, Phases.project), (1, Phases.score), (0, Phases.forward)):
                    self._shifted(first, lag, part)
        self._at(last, Phases.score)
        if last:
            self._at(last - 1, Phases.forward)
        self._at(last, Phases.forward)

    def _at(self, token: int, part: Callable[[Phases], None]) -> None:
        """A part of a token."""
        with self.emitter.loop(1) as zero:
            self._shifted(zero, token, part)

    def _shifted(self, register: int, further: int, part: Callable[[Phases], None]) -> None:
        """A part of the token that stands `further` behind the one in a register."""
        token = self.emitter.scalar("add", register, further)
        part(Phases(*self._facts, token))
        self.emitter.release(token)

    @property
    def _facts(self) -> tuple[Emitter, CimLayer, DigitalCim, Tiling, Rooms, Activities, Block]:
        return self.emitter, self.layer, self.core, self.tiles, self.places, self.shares, self.block

    def inputs(self) -> None:
        """Vectors of all tokens."""
        octets = self.block.tokens * self.layer.hidden
        with self.emitter.origin(Source("inputs")):
            self.emitter.emit("ldoff", self.places.residual, self.places.inputs_at, octets)

    def project(self) -> None:
        """From the vectors to queries, keys and values."""
        layer, places = self.layer, self.places
        self._all(
            ("norm_1", lambda: self._norm(places.gains, 0)),
            ("query", lambda: self._product("query", places.query, layer.hidden)),
            *self._cache_steps(),
        )

    def score(self) -> None:
        """From queries and keys to probabilities."""
        self._all(("scores", self._scores), ("softmax", self._softmax))

    def forward(self) -> None:
        """From the probabilities to the layer's results."""
        layer, places = self.layer, self.places
        self._all(
            ("values", self._values),
            ("output", lambda: self._onto_residual("output", places.query, layer.hidden, layer.hidden)),
            ("norm_2", lambda: self._norm(places.gains + 2 * layer.hidden, self.core.norm.sets - 1)),
            ("up", self._up),
            ("relu", self._relu),
            ("down", lambda: self._onto_residual("down", places.middle, layer.feed_forward, self._middle_words)),
        )

    def outputs(self) -> None:
        """Results of all tokens."""
        octets = self.block.tokens * self.layer.hidden
        with self.emitter.origin(Source("outputs")):
            self.emitter.emit("stoff", self.places.outputs_at, self.places.residual, octets)

    def _all(self, *steps: tuple[str, Callable[[], None]]) -> None:
        for name, step in steps:
            with self.emitter.origin(Source(name)):
                step()

    def _cache_steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Phases of keys and values, without those of units that are off."""
        declared = self.layer.cache
        cache = CachePhases(*self._facts, self.token)
        yield from (("key", cache.key), ("value", cache.value))
        if declared.prunes:
            yield "prune", cache.prune
        if declared.quantises:
            yield from (("quantise", cache.quantise), ("dequantise", cache.dequantise))

    @property
    def _middle_words(self) -> int:
        return self.tiles.relu * self.tiles.relu_elements

    def _norm(self, gains: int, units: int) -> None:
        """Normalise with a set of units."""
        layer, places, full = self.layer, self.places, self.tiles.norm[0]
        whole = sum(count == full for count in self.tiles.norm)
        with self.tokens(self.block.tokens) as token, self.offset((token, layer.hidden)) as row:
            vectors = (Indexed(places.normed, row), Indexed(places.residual, row))
            with self.emitter.loop(whole) as tile, self.offset((tile, full)) as first:
                self.emitter.emit("dnorm", *vectors, gains, layer.hidden, Indexed(0, first), full, group=units)
            for count in self.tiles.norm[whole:]:
                self.emitter.emit("dnorm", *vectors, gains, layer.hidden, whole * full, count, group=units)

    def _product(self, matrix: str, dst: int, outputs: int) -> None:
        """A product of every normalised vector with a matrix, behind one another."""
        layer, addend = self.layer, self.addend(matrix)
        with (
            self.tokens(self.block.tokens) as token,
            self.offset((token, layer.hidden)) as row,
            self.offset((token, outputs)) as result,
        ):
            vectors = (Indexed(dst, result), Indexed(self.places.normed, row), addend)
            self.emitter.emit("dmvm", *vectors, matrix, layer.hidden, outputs, "begin", self.scale(matrix))

    @contextmanager
    def _context(self, token: int) -> Iterator[int]:
        """A register with the number of tokens that a token of the block attends to."""
        with self.position(token) as position:
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
            self.tokens(self.block.tokens) as token,
            self._context(token) as length,
            self.offset((token, layer.hidden)) as query,
            emitter.loop(Indexed(0, length)) as key,
            self.offset((token, self._score_row), (key, 1)) as score,
            self.offset((key, self.tiles.row_words)) as row,
        ):
            vectors = (Indexed(places.scores, score), Indexed(places.query, query), Indexed(places.cache, row))
            strides = (self.block.columns, width, width, 1)
            scale = self.layer.numbers.score_step * width**-0.5
            emitter.emit("ddot", *vectors, width, passes, layer.heads, *strides, scale, activity=self.shares.scores)

    def _softmax(self) -> None:
        emitter, lanes, columns = self.emitter, self.core.softmax.lanes, self.block.columns
        with (
            self.tokens(self.block.tokens) as token,
            self._context(token) as length,
            self.offset((token, self._score_row)) as row,
            self._covering(length, lanes) as passes,
        ):
            scores = Indexed(self.places.scores, row)
            sizes = (Indexed(0, length), Indexed(0, passes), self.layer.heads)
            emitter.emit("dsoftmax", scores, scores, *sizes, columns, columns)

    def _values(self) -> None:
        """Dot products of probabilities with a column of the values, all heads at once."""
        emitter, layer, places, width = self.emitter, self.layer, self.places, self.layer.head_width
        with (
            self.tokens(self.block.tokens) as token,
            self._context(token) as length,
            self._covering(length, self.core.engines.lanes) as passes,
            self.offset((token, self._score_row)) as row,
            emitter.loop(width) as column,
            self.offset((token, layer.hidden), (column, 1)) as result,
        ):
            values = Indexed(places.cache + layer.hidden, column)
            vectors = (Indexed(places.query, result), Indexed(places.scores, row), values)
            strides = (width, self.block.columns, width, self.tiles.row_words)
            sizes = (Indexed(0, length), Indexed(0, passes), layer.heads)
            emitter.emit(
                "ddot",
                *vectors,
                *sizes,
                *strides,
                1 / 127,
                activity=self.shares.values,
                group=self.core.engines.sets - 1,
            )

    def _onto_residual(self, matrix: str, source: int, inputs: int, source_row: int) -> None:
        layer, places = self.layer, self.places
        with (
            self.tokens(self.block.tokens) as token,
            self.offset((token, layer.hidden)) as row,
            self.offset((token, source_row)) as vector,
        ):
            residual = Indexed(places.residual, row)
            operands = (residual, Indexed(source, vector), residual, matrix, inputs, layer.hidden)
            self.emitter.emit("dmvm", *operands, "begin", self.scale(matrix))

    def _up(self) -> None:
        layer, places = self.layer, self.places
        with (
            self.tokens(self.block.tokens) as token,
            self.offset((token, layer.hidden)) as row,
            self.offset((token, self._middle_words)) as result,
        ):
            vectors = (Indexed(places.middle, result), Indexed(places.normed, row), self.addend("up"))
            self.emitter.emit("dmvm", *vectors, "up", layer.hidden, layer.feed_forward, "begin", self.scale("up"))

    def _relu(self) -> None:
        tiles, places = self.tiles, self.places
        with (
            self.tokens(self.block.tokens) as token,
            self.emitter.loop(tiles.relu) as tile,
            self.offset((token, self._middle_words), (tile, tiles.relu_elements)) as place,
        ):
            vector = Indexed(places.middle, place)
            self.emitter.emit("drelu", vector, vector, tiles.relu_elements)
