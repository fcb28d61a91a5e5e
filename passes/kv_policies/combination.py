"""Which mechanisms go together in one layer."""

from __future__ import annotations

from collections.abc import Sequence

from isa import InputError
from passes.kv_policies.mechanisms import BestPages, BinaryKeys, Compression, Levelled, Quantized, Ring, Scored
from passes.kv_policies.policy import Layer, Policy, require

_WHAT_GOES = (
    "one policy each that evicts (window), quantises (int, kivi) and selects (topk) go together; topk and cam also go"
    " with any that evicts, quest with none"
)


def check_policies(policies: Sequence[Policy]) -> None:
    """Raise `InputError` when the last of some policies contradicts those before it."""
    *earlier, last = policies
    for policy in earlier:
        if "nothing" in (policy.mechanism, last.mechanism):
            raise InputError("'none' keeps everything and stands alone", help=_WHAT_GOES)
        if policy.mechanism == last.mechanism:
            verbs = {"retention": "evict tokens", "encoding": "encode elements", "selection": "select tokens"}
            raise InputError(f"'{policy.name}' and '{last.name}' both {verbs[last.mechanism]}", help=_WHAT_GOES)


def combined(policies: Sequence[Policy], layer: Layer) -> Compression | None:
    """The mechanisms of several policies in one layer, `None` when none takes part.

    Raises:
        InputError: they contradict each other, or the layer's shape does not allow them.
    """
    parts = [policy.compress(layer) for policy in policies]
    retention = next((part.retention for part in parts if part.retention), None)
    encoding = next((part.encoding for part in parts if part.encoding), None)
    selection = next((part.selection for part in parts if part.selection), None)
    found = Compression(retention, encoding, selection)
    if found == Compression():
        return None
    check_combination(found)
    _check_codes(found)
    return found


def _check_codes(compression: Compression) -> None:
    """Raise `InputError` when codes mean something beside the other mechanisms, but no memory can hold them so."""
    retention, encoding, selection = compression.retention, compression.encoding, compression.selection
    if not isinstance(encoding, Quantized):
        return
    require(
        not isinstance(selection, BinaryKeys),
        "cam and quantisation contradict each other",
        _WHAT_GOES,
        ["signs of keys take the place of keys in the banks, which cannot be quantised as well"],
    )
    require(
        not isinstance(selection, BestPages),
        "quest and quantisation contradict each other",
        _WHAT_GOES,
        ["the banks read codes of all slots, not only of those with chosen pages"],
    )
    if isinstance(retention, Ring):
        room, exact = retention.budget - retention.sinks, encoding.residual + encoding.group
        smaller = ", or a smaller residual" if encoding.residual else ", or smaller groups"
        require(
            room >= exact,
            f"a window of {room} tokens behind the sinks has no room for {exact} exact ones",
            f"give budget={retention.sinks + exact} or more{smaller}",
            [f"{encoding.residual} tokens stay exact, and a group of {encoding.group} until it is whole"],
        )


def check_combination(compression: Compression) -> None:
    """Raise `InputError` when mechanisms of one layer contradict each other."""
    retention, encoding, selection = compression.retention, compression.encoding, compression.selection
    is_alone = retention is None and selection is None
    reason = "a levelled code depends on all tokens before it, so that none of them can go or be passed over"
    require(not isinstance(encoding, Levelled) or is_alone, "cpq stands alone", _WHAT_GOES, [reason])
    require(
        not (isinstance(retention, Scored) and isinstance(encoding, Quantized)),
        "eviction by attention and quantisation contradict each other",
        _WHAT_GOES,
        ["eviction frees single tokens, but codes are written in groups of tokens"],
    )
    require(
        retention is None or not isinstance(selection, BestPages),
        "selection by pages and eviction contradict each other",
        _WHAT_GOES,
        ["the extremes of a page do not shrink when its tokens go"],
    )
    if isinstance(retention, Ring) and isinstance(encoding, Quantized):
        require(
            retention.sinks <= encoding.group,
            f"{retention.sinks} sinks do not fit into the first group of {encoding.group} tokens, which stays",
            f"give sink={encoding.group} or less, or larger groups",
        )
