"""Random inputs for a graph of the corpus, with ragged padding, and the places of its outputs that it leaves alone.

Needs numpy alone. Decoders are padded at the left and get the positions that the mask implies; encoders are padded at
the right. What a graph computes at a padded place differs between correct implementations, so it is not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from corpus_manifest import CorpusGraph, Tensor

Array = np.ndarray


@dataclass(frozen=True)
class Case:
    """Inputs of one run.

    Attributes:
        inputs: the arrays by input name.
        selections: per output name a boolean array that broadcasts to the output's shape: true where it must agree.
    """

    inputs: dict[str, Array]
    selections: dict[str, Array]


def ragged(batch: int, length: int) -> tuple[int, ...]:
    """Padded places per row: none in the first, then 1, 4, 2, 5, 3 ... but never the whole row of `length` tokens."""
    return tuple(min((0, 1, 4, 2, 5, 3)[row % 6], length - 1) for row in range(batch))


def random_case(
    graph: CorpusGraph,
    batch: int,
    seq: int,
    past: int = 0,
    *,
    enc_seq: int | None = None,
    padding: Sequence[int] | None = None,
    seed: int = 0,
) -> Case:
    """Makes inputs of a graph for one set of lengths.

    Args:
        graph: which graph.
        batch: sequences.
        seq: new tokens (an encoder's tokens where the graph is an encoder alone).
        past: tokens in the cache; ignored where the graph has none.
        enc_seq: tokens that the encoder of an encoder-decoder reads; two more than `seq` if not given.
        padding: padded places per row, at the graph's side; `None` for `ragged` where the graph can be padded.
        seed: of the random numbers.
    """
    past = past if graph.has_cache else 0
    lengths = {"batch": batch, "seq": seq, "past": past, "total": past + seq, "enc_seq": enc_seq or seq + 2}
    masks = _masks(graph, lengths, padding)
    random = np.random.default_rng(seed)
    inputs = {tensor.name: _array(graph, tensor, lengths, masks, random) for tensor in graph.inputs}
    return Case(inputs, {tensor.name: _selection(tensor, masks) for tensor in graph.outputs})


def _masks(graph: CorpusGraph, lengths: dict[str, int], padding: Sequence[int] | None) -> dict[str | int, Array]:
    """The mask `[batch, tokens]` of each length that the graph's own mask tells of; none where it takes none."""
    named = next((tensor for tensor in graph.inputs if tensor.name.endswith("attention_mask")), None)
    if named is None:
        return {}
    batch, length = _shape(named, lengths)
    if padding is None:
        padding = ragged(batch, length) if graph.padding != "none" else (0,) * batch
    padded, places = np.array(padding)[:, None], np.arange(length)
    mask = places >= padded if graph.padding == "left" else places < length - padded
    if named.dims[1] == "total":
        return {"total": mask, "seq": mask[:, lengths["past"] :]}
    return {named.dims[1]: mask}


def _shape(tensor: Tensor, lengths: dict[str, int]) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else lengths[dim] for dim in tensor.dims)


def _array(
    graph: CorpusGraph,
    tensor: Tensor,
    lengths: dict[str, int],
    masks: dict[str | int, Array],
    random: np.random.Generator,
) -> Array:
    shape = _shape(tensor, lengths)
    if tensor.name.endswith("attention_mask"):
        return np.broadcast_to(masks[tensor.dims[1]], shape).astype(tensor.dtype)
    if tensor.name == "position_ids":
        mask = masks.get("total", masks.get("seq"))
        if mask is None:
            return _filled(lengths)[:, None] + np.arange(lengths["seq"])
        return (mask.cumsum(1) - 1)[:, lengths["past"] :].clip(0).astype(tensor.dtype)
    if tensor.name in ("write_indices", "nonpad_kv_seqlen"):
        return _filled(lengths) + (lengths["seq"] if tensor.name == "nonpad_kv_seqlen" else 0)
    if tensor.name == "use_cache_branch":
        return np.full(shape, lengths["past"] > 0)
    if tensor.name == "token_type_ids":
        return random.integers(0, 2, shape).astype(tensor.dtype)
    if tensor.dtype.startswith("int"):
        return _tokens(graph, shape, masks.get(tensor.dims[1]), random).astype(tensor.dtype)
    return random.standard_normal(shape).astype(tensor.dtype)


def _filled(lengths: dict[str, int]) -> Array:
    """Tokens in each sequence's stretch of a cache of fixed length."""
    return lengths["past"] - np.array(ragged(lengths["batch"], lengths["past"] + 1))


def _tokens(graph: CorpusGraph, shape: tuple[int, ...], mask: Array | None, random: np.random.Generator) -> Array:
    """Ids without the padding's, but for the padded places: some models count positions by that."""
    ids = random.integers(0, graph.vocabulary - 1, shape)
    ids += ids >= graph.pad_token
    return ids if mask is None else np.where(mask, ids, graph.pad_token)


def _selection(tensor: Tensor, masks: dict[str | int, Array]) -> Array:
    """True at the unmasked places of the output's token axis; one true element where it has none."""
    shape = [1] * len(tensor.dims)
    axis = next((axis for axis, dim in enumerate(tensor.dims) if dim in masks), None)
    if axis is None or ".encoder." in tensor.name:
        return np.ones(shape, bool)
    places = masks[tensor.dims[axis]]
    shape[0], shape[axis] = places.shape
    return places.reshape(shape)
