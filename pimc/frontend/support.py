"""The check, before anything else runs, that every operator of a model is supported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx

from isa import Place, UnsupportedError
from pimc.frontend.loading import LoadedModel, standard_domain
from pimc.frontend.operators import IMPORTERS

_SHOWN_NAMES = 3
_HELP = (
    "export the model for inference with static control flow, simplify it, or leave these nodes out;"
    " `pimc inspect` lists the nodes of a model"
)


def check_support(model: LoadedModel, nodes: Sequence[tuple[str, onnx.NodeProto]], place: Place) -> None:
    """Raise one `UnsupportedError` that lists every operator of the nodes that has no importer.

    Args:
        model: The model, for the operator set versions.
        nodes: Nodes with their names.
        place: The model, for the message.
    """
    missing: dict[tuple[str, str], list[str]] = {}
    every = [*nodes, *(inner for _, node in nodes for inner in _in_branches(node))]
    for name, node in every:
        key = (standard_domain(node.domain), node.op_type)
        if key not in IMPORTERS and key != ("", "If"):
            missing.setdefault(key, []).append(name)
    if not missing:
        return
    rows = [("operator", "domain", "operator set", "nodes", "first nodes")]
    for (domain, operator), names in sorted(missing.items()):
        version = str(model.opsets.get(domain, "not declared"))
        more = ", ..." if len(names) > _SHOWN_NAMES else ""
        rows.append((operator, domain or "ai.onnx", version, str(len(names)), ", ".join(names[:_SHOWN_NAMES]) + more))
    count = sum(len(names) for names in missing.values())
    message = f"{count} of {len(every)} nodes have operators that are not supported"
    raise UnsupportedError(message, place, notes=_table(rows), help=_HELP)


def _in_branches(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.NodeProto]]:
    """All nodes inside the branches of an `If`."""
    if node.op_type != "If":
        return
    for attribute in node.attribute:
        for index, inner in enumerate(attribute.g.node):
            yield inner.name or f"{inner.op_type}_{index}", inner
            yield from _in_branches(inner)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
