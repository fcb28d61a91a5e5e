"""What the codes of a quantised KV cache are worth, read back by the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isa import Program, Symbol
from passes import Quantized, Ring, cache_from_facts
from pimc.kv_codes import CodeLayout
from pimc.kv_layout import KvLayout
from pimc.simulator.host.memory import cache_elements

if TYPE_CHECKING:
    from pimc.simulator.state.machine_state import MachineState

Array = NDArray[Any]


def stored_codes(state: MachineState, program: Program, exact: Symbol, tokens: int) -> Array | None:
    """Keys or values that a quantised cache keeps, in the order of the tokens: what codes are worth, then exact ones.

    Args:
        state: What the machine holds.
        program: Its program.
        exact: Symbol of the exact keys or values of the same cache.
        tokens: Tokens so far.

    Returns:
        [1, kv_heads, kept tokens, head_dim], or `None` for caches without codes.
    """
    stem, kind = exact.name.rpartition(".")[0], exact.layout["kind"]
    found = {each.name: each for each in program.symbols if each.name in (f"{stem}.{kind}_codes", f"{stem}.meta_words")}
    if len(found) < 2:
        return None
    codes, meta = found[f"{stem}.{kind}_codes"], found[f"{stem}.meta_words"]
    encoding, ring = _mechanisms(program, codes.layout["cache"])
    coded = max(tokens - encoding.residual, 0) // encoding.group * encoding.group
    kept = _kept(tokens, ring)
    older, latest = kept[kept < coded], kept[kept >= coded]
    newer = cache_elements(state, exact, latest % (encoding.residual + encoding.group))
    if not older.size:
        return newer
    worth = _worth(state, codes, meta, encoding, _places(older, encoding, ring))
    return np.concatenate((worth[None], newer), axis=2)


def _mechanisms(program: Program, name: str) -> tuple[Quantized, Ring | None]:
    listed = [program.metadata, *program.metadata.get("entries", {}).values()]
    facts = next(each for part in listed for each in part.get("compressed_cache", ()) if each["name"] == name)
    compression = cache_from_facts(facts).compression
    assert compression is not None
    assert isinstance(compression.encoding, Quantized)
    return compression.encoding, compression.retention if isinstance(compression.retention, Ring) else None


def _kept(tokens: int, ring: Ring | None) -> NDArray[np.int64]:
    """The tokens that are attended to, ascending."""
    every = np.arange(tokens)
    return every if ring is None else every[(every < ring.sinks) | (every >= tokens - ring.budget + ring.sinks)]


def _places(tokens: NDArray[np.int64], encoding: Quantized, ring: Ring | None) -> NDArray[np.int64]:
    """Where the codes of tokens lie: behind group 0, the groups of a ring take turns."""
    if ring is None:
        return tokens
    group, place = np.divmod(tokens, encoding.group)
    turning = -(-(ring.budget - ring.sinks) // encoding.group) + 1
    return np.where(group == 0, 0, 1 + (group - 1) % turning) * encoding.group + place


def _worth(
    state: MachineState, symbol: Symbol, meta: Symbol, encoding: Quantized, places: NDArray[np.int64]
) -> NDArray[np.float32]:
    """code * scale + zero of the tokens at these places: [kv_heads, tokens, head_dim]."""
    region, layout = state.region_at(symbol.address), CodeLayout.from_json(symbol.layout)
    assert region is not None
    codes = layout.codes(region.data, symbol.address - region.low, places)
    group, within = np.divmod(places, encoding.group)
    by_group = layout.meta(region.data, meta.address - region.low, group)
    scale, zero = (_spread(part, layout.places, encoding, within) for part in by_group)
    return codes.astype(np.float32) * scale + zero


def _spread(
    words: NDArray[np.float32], places: KvLayout, encoding: Quantized, within: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Scales or zero points [tokens, words of its group] as [kv_heads, tokens, head_dim].

    Args:
        words: Per channel [head, channel], or per token [token of the group, head, run of channels].
        places: Shape of the heads.
        encoding: Axis and group size.
        within: Place of each token in its group.
    """
    if places.kind == "key" and encoding.key_axis == "channel":
        return words.reshape(-1, places.kv_heads, places.head_dim).swapaxes(0, 1)
    runs = words.reshape(len(words), encoding.group, places.kv_heads, -1)[np.arange(len(words)), within]
    return np.repeat(runs.swapaxes(0, 1), encoding.width, axis=2)
