"""What is added to the scores of an attention, split into a mask that is a predicate and a bias."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from passes.dims import Dim
from passes.ir import Value, constant_scalar
from passes.recognition.mask_lengths import MASKED_BELOW
from passes.recognition.masks import MaskTerm, Predicate, classify, is_mask
from passes.recognition.matching import Refusal, producer


@dataclass(frozen=True)
class Masking:
    """The terms of an attention after classification.

    Attributes:
        causal: As in `Predicate`.
        window: As in `Predicate`.
        key_masks: Values [B|1, T] (or with axes of size 1 in between) that are not zero where a key may be attended to.
        bias: Terms that stay, to be added to the scores.
        reason: Why masks among them are no predicate; empty when there are none.
    """

    causal: bool = False
    window: int = 0
    key_masks: tuple[Value, ...] = ()
    bias: tuple[MaskTerm, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        words = [str(Predicate(self.causal, self.window))]
        words += ["key mask"] if self.key_masks else []
        words += ["bias"] if self.bias else []
        return ", ".join(words)


def resolve(terms: Sequence[MaskTerm], queries: Dim, keys: Dim, shares_positions: bool) -> Masking:
    """Find out what the terms mean together; what is no predicate stays as bias.

    Args:
        terms: What masks the scores, or is added to them.
        queries: S.
        keys: T.
        shares_positions: As for `classify`.
    """
    try:
        return _masking(classify(terms, queries, keys, shares_positions))
    except Refusal as refusal:
        if len(terms) == 1 and terms[0].kind != "additive" and _smaller(terms[0]) == [terms[0]]:
            return Masking(bias=tuple(terms), reason=str(refusal))
    masks: list[MaskTerm] = []
    bias: list[MaskTerm] = []
    for term in terms:
        for part in _parts(term, queries, keys, shares_positions):
            (masks if is_mask(part, queries, keys, shares_positions) else bias).append(part)
    found = _separately(masks, queries, keys, shares_positions)
    return replace(found, bias=(*bias, *found.bias))


def _masking(predicate: Predicate) -> Masking:
    masks = () if predicate.key_mask is None else (predicate.key_mask,)
    return Masking(predicate.causal, predicate.window, masks)


def _separately(masks: list[MaskTerm], queries: Dim, keys: Dim, shares_positions: bool) -> Masking:
    """The masks together when they are a predicate, otherwise those that are one each; the others become bias."""
    try:
        return _masking(classify(masks, queries, keys, shares_positions))
    except Refusal as refusal:
        result = Masking(reason=str(refusal))
    for term in masks:
        parts = _smaller(term)
        if parts != [term]:
            one = _separately(parts, queries, keys, shares_positions)
        elif len(masks) > 1:
            one = resolve([term], queries, keys, shares_positions)
        else:
            one = Masking(bias=(term,))
        result = _both(result, one)
    return result


def _both(a: Masking, b: Masking) -> Masking:
    """The masks that allow what both allow."""
    return Masking(
        causal=a.causal or b.causal,
        window=min(filter(None, (a.window, b.window)), default=0),
        key_masks=tuple(dict.fromkeys((*a.key_masks, *b.key_masks))),
        bias=(*a.bias, *b.bias),
        reason=a.reason or b.reason,
    )


def _parts(term: MaskTerm, queries: Dim, keys: Dim, shares_positions: bool) -> Iterator[MaskTerm]:
    """Take a term apart until the parts are masks or cannot be taken apart."""
    smaller = [term] if is_mask(term, queries, keys, shares_positions) else _smaller(term)
    for part in smaller:
        yield from [part] if smaller == [term] else _parts(part, queries, keys, shares_positions)


def _smaller(term: MaskTerm) -> list[MaskTerm]:
    """A sum, a choice of minus infinity, or a conjunction as its parts; a list of the term alone when it is none."""
    node = producer(term.value, "add", "where", "and", "or")
    if node is None:
        return [term]
    if (term.kind, node.op) in (("additive", "add"), ("allowed", "and"), ("masked", "or")):
        return [replace(term, value=value) for value in (node.operand(0), node.operand(1))]
    if (term.kind, node.op) != ("additive", "where"):
        return [term]
    condition, a, b = node.operand(0), node.operand(1), node.operand(2)
    for kind, kept, dropped in (("allowed", a, b), ("masked", b, a)):
        low = constant_scalar(dropped)
        if low is not None and low * term.factor <= MASKED_BELOW:
            rest = [] if constant_scalar(kept) == 0.0 else [replace(term, value=kept)]
            return [MaskTerm(condition, kind, scores=term.scores), *rest]
    return [term]
