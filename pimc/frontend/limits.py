"""How large a model may be before the frontend refuses it."""

from __future__ import annotations

from dataclasses import dataclass

from isa import Place, ResourceLimitError


@dataclass(frozen=True)
class Limits:
    """Bounds on what a model file may demand.

    Attributes:
        graph_bytes: Size of the `.onnx` file; protobuf itself cannot hold more than 2 GiB.
        external_bytes: All external tensor data together.
        nodes: Nodes of the graph.
        rank: Dimensions of one tensor.
        elements: Elements of one tensor.
    """

    graph_bytes: int = 2 << 30
    external_bytes: int = 64 << 30
    nodes: int = 1_000_000
    rank: int = 8
    elements: int = 1 << 40


def check_limit(what: str, demand: int, bound: int, place: Place) -> None:
    """Raise `ResourceLimitError` when `demand` is above `bound`."""
    if demand > bound:
        raise ResourceLimitError(f"{what} is {demand:,}, the limit is {bound:,}", place)
