"""The lengths of a program: which registers hold them, and how large they become."""

from __future__ import annotations

import re
from dataclasses import dataclass

from isa import RegisterSymbol
from passes import Affine, Cache, Dim, Graph, Node, Value
from pimc.backend.emitter import Emitter
from pimc.backend.extents import EARLIER, Extents
from pimc.backend.lowering import HostRegisters
from pimc.backend.operations.scalars import past_symbols
from pimc.backend.options import ProgramOptions
from pimc.backend.rooms.cache_sizes import CacheSizes
from pimc.backend.rows.row_axes import RowMap, Space
from pimc.backend.rows.schedule import Schedule


@dataclass(frozen=True)
class Lengths:
    """All lengths of a program.

    Attributes:
        extents: The model's symbols as registers, with their largest values.
        tokens: For each space the most tokens of a sequence in one run.
        caches: How much each KV cache holds.
        chunk: Most tokens of the main space in one run.
        least_run: Fewest tokens of the main space in one run.
        has_past: Whether tokens of earlier runs are in a cache.
        has_decode: Whether a run may have one token as well as many.
        others: Registers of symbols besides the tokens and those in the cache.
        symbols: Name of the register of each symbol.
    """

    extents: Extents
    tokens: dict[Space, int]
    caches: dict[str, CacheSizes]
    chunk: int
    least_run: int
    has_past: bool
    has_decode: bool
    others: tuple[RegisterSymbol, ...]
    symbols: dict[str, str]

    def mask_words(self, mask: Value) -> int:
        """Words for one sequence of a key mask."""
        return max(self.extents.capacity(mask.shape[1]), *(size.most_tokens for size in self.caches.values()))


def find_lengths(
    graph: Graph,
    rows: RowMap,
    schedule: Schedule,
    host: HostRegisters,
    emitter: Emitter,
    options: ProgramOptions,
    shared: dict[str, int],
) -> Lengths:
    """Give every symbol a register, and bound it.

    Args:
        graph: The fused graph.
        rows: What works row by row.
        schedule: Its phases.
        host: Registers with a fixed meaning.
        emitter: Gives registers.
        options: What the user chooses.
        shared: Registers of dimensions by the name that the host knows, of this graph and of others that become the
            same program; new ones are added.
    """
    emitter.reserve(shared.values())
    past = past_symbols(graph)
    main = rows.main
    own = _bare_symbol(main.tokens) if main is not None else None
    names = {name: "kv_length" for name in past} | ({own: "token_count"} if own is not None else {})
    registers = {name: host.kv_length for name in past} | ({own: host.token_count} if own is not None else {})
    least = _least_lengths(graph)
    others: list[RegisterSymbol] = []
    for name in sorted(graph.symbols() - set(registers)):
        others.append(_other_register(name, least.get(name, 0), emitter, options.max_context, shared))
        names[name], registers[name] = others[-1].name, others[-1].register
    is_incremental = schedule.is_incremental and (own is not None or isinstance(main and main.tokens, int))
    has_past = is_incremental or bool(past)
    chunk = _chunk(main, is_incremental, options)
    largest = dict.fromkeys(registers, options.max_context)
    largest |= dict.fromkeys(past, options.max_context - 1)
    if own is not None:
        largest[own] = chunk
    registers[EARLIER], largest[EARLIER] = host.kv_length, options.max_context - 1
    context = past | ({own} if own is not None else frozenset()) | {EARLIER}
    extents = Extents(emitter, registers, largest, context, options.max_context)
    tokens = {space: extents.capacity(space.tokens) for space in _spaces(rows, schedule)}
    if main is not None:
        tokens[main] = chunk
    is_single = main is not None and main.tokens == 1
    has_decode = is_incremental or (bool(past) and (own is not None or is_single))
    caches = _cache_sizes(graph, extents, host, options.max_context)
    least_run = 1 if own is None or is_incremental else max(1, least.get(own, 1))
    return Lengths(extents, tokens, caches, chunk, least_run, has_past, has_decode, tuple(others), names)


def _other_register(name: str, low: int, emitter: Emitter, high: int, shared: dict[str, int]) -> RegisterSymbol:
    """The register of a symbol that is neither the tokens nor those in the cache."""
    known = "dim_" + re.sub(r"[^A-Za-z0-9_]", "_", name)
    if known not in shared:
        shared[known] = emitter.register()
    return RegisterSymbol(known, shared[known], min(low, high), high, f"size of the dimension '{name}'")


def _least_lengths(graph: Graph) -> dict[str, int]:
    """The smallest value of each symbol at which every node finds what it reads, where that is up to it alone."""
    least: dict[str, int] = {}
    facts = graph.facts.get("frontend")
    for demand in () if facts is None else facts.demands:
        if isinstance(demand.smaller, int) and isinstance(demand.larger, Affine) and len(demand.larger.terms) == 1:
            ((name, factor),) = demand.larger.terms
            needed = -((demand.larger.constant - demand.smaller) // factor)
            least[name] = max(least.get(name, 0), needed)
    return least


def _bare_symbol(dim: Dim) -> str | None:
    if isinstance(dim, Affine) and len(dim.terms) == 1 and dim.terms[0][1] == 1 and dim.constant == 0:
        return dim.terms[0][0]
    return None


def _spaces(rows: RowMap, schedule: Schedule) -> set[Space]:
    found = {own.space for own in rows.rows.values()}
    return found | {phase.space for phase in schedule.phases if phase.space is not None}


def _chunk(main: Space | None, is_incremental: bool, options: ProgramOptions) -> int:
    """Tokens of one run: all of them where they cannot come in pieces, or where their number is bound."""
    if main is None:
        return 1
    if isinstance(main.tokens, int):
        return max(main.tokens, min(options.chunk, options.max_context) if is_incremental else 1)
    whole = options.max_context if options.longest_run is None else min(options.longest_run, options.max_context)
    return min(options.chunk, options.max_context) if is_incremental else whole


def _cache_sizes(graph: Graph, extents: Extents, host: HostRegisters, max_context: int) -> dict[str, CacheSizes]:
    sizes: dict[str, CacheSizes] = {}
    for node in graph.nodes:
        if node.op == "cached_attention":
            cache = graph.caches[str(node.attributes["cache"])]
            sizes[cache.name] = _cache_size(graph, node, cache, extents, host.kv_length, max_context)
    return sizes


def _cache_size(
    graph: Graph, node: Node, cache: Cache, extents: Extents, kv_length: int, max_context: int
) -> CacheSizes:
    key, past = node.optional(1), _past_tokens(graph, cache)
    tokens: Dim = (past or 0) + (0 if key is None else key.shape[1])
    is_causal = bool(node.attributes["causal"])
    most = max(extents.capacity(tokens), max_context if is_causal else 1)
    counts_past = key is not None and (is_causal or past is not None)
    return CacheSizes(int(str(node.operand(0).shape[0])), tokens, most, kv_length if counts_past else None)


def _past_tokens(graph: Graph, cache: Cache) -> Dim | None:
    """Length of the cache's past input: its dynamic dimension, else that of axis 2."""
    kind = graph.signature.get(cache.past_key or "")
    if kind is None:
        return None
    dynamic = [dim for dim in kind.shape if isinstance(dim, Affine)]
    return dynamic[0] if dynamic else kind.shape[2]
