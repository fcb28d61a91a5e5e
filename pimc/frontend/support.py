"""The check, before anything else runs, that every operator of a model is supported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import onnx

from isa import Place, UnsupportedError
from pimc.frontend.folding import FOLDED
from pimc.frontend.loading import LoadedModel, standard_domain
from pimc.frontend.operators import IMPORTERS

_SHOWN_NAMES = 8
"""Nodes of an operator that the table names; a note below it names all."""
_HELP = (
    "write these parts of the model with supported operators (docs/operators.md) and export it again, or cut the model"
    " before them (onnx.utils.extract_model)"
)
_ADVICE = {
    "Loop": "unrolled by exporters whose loop bounds are Python numbers",
    "Scan": "unrolled by exporters whose loop bounds are Python numbers",
    "NonMaxSuppression": "leave the selection of boxes to the host: cut the model before it",
    "StringNormalizer": "leave text processing to the host: cut the model after it",
    "TfIdfVectorizer": "leave text processing to the host: cut the model after it",
    "Bernoulli": "random numbers: export the model for inference",
    "Multinomial": "random numbers: leave sampling to the host",
    "RandomNormal": "random numbers: give them to the model as an input",
    "RandomNormalLike": "random numbers: give them to the model as an input",
    "RandomUniform": "random numbers: give them to the model as an input",
    "RandomUniformLike": "random numbers: give them to the model as an input",
    **dict.fromkeys(sorted(FOLDED), "computed at compile time only: operands may not depend on the inputs"),
}
"""What can be done about an operator, where there is something better to say than `_HELP`."""


def check_support(
    model: LoadedModel, nodes: Sequence[tuple[str, onnx.NodeProto]], place: Place, bound: frozenset[str] = frozenset()
) -> None:
    """Raise one `UnsupportedError` that lists every operator of the nodes that has no importer.

    Args:
        model: The model, for the operator set versions.
        nodes: Nodes with their names.
        place: The model, for the message.
        bound: Inputs whose values are known.
    """
    every = [*nodes, *(inner for _, node in nodes for inner in _in_branches(node))]
    dependent = _dependent(model.proto.graph, every, bound)
    missing: dict[tuple[str, str], list[str]] = {}
    for name, node in every:
        key = (standard_domain(node.domain), node.op_type)
        is_folded = key[0] == "" and key[1] in FOLDED and not dependent.intersection(node.input)
        if key not in IMPORTERS and key != ("", "If") and not is_folded:
            missing.setdefault(key, []).append(name)
    if not missing:
        return
    count = sum(len(names) for names in missing.values())
    has = "has an operator that is" if count == 1 else "have operators that are"
    message = f"{count} of {len(every)} nodes {has} not supported"
    notes = [*_table(model, missing), *_long_lists(missing), *_advice(missing)]
    raise UnsupportedError(message, place, notes=notes, help=_HELP)


def _advice(missing: Iterable[tuple[str, str]]) -> list[str]:
    """What is to be said of operators, once for all of which it is the same."""
    operators: dict[str, list[str]] = {}
    for _, operator in sorted(missing):
        if operator in _ADVICE:
            operators.setdefault(_ADVICE[operator], []).append(operator)
    return [f"{', '.join(names)}: {advice}" for advice, names in operators.items()]


def _long_lists(missing: dict[tuple[str, str], list[str]]) -> list[str]:
    """The names of all nodes of operators that have more than the table shows."""
    return [
        f"all {len(names)} nodes of {operator}: {', '.join(names)}"
        for (_, operator), names in sorted(missing.items())
        if len(names) > _SHOWN_NAMES
    ]


def _dependent(graph: onnx.GraphProto, nodes: Sequence[tuple[str, onnx.NodeProto]], bound: frozenset[str]) -> set[str]:
    """Tensors whose contents depend on the inputs; shapes do not, they may be known once dimensions are bound."""
    weights = {tensor.name for tensor in graph.initializer}
    dependent = {info.name for info in graph.input} - weights - bound
    for _, node in nodes:
        if node.op_type not in ("Shape", "Size") and dependent.intersection(node.input):
            dependent.update(filter(None, node.output))
    return dependent


def _in_branches(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.NodeProto]]:
    """All nodes inside the branches of an `If`."""
    if node.op_type != "If":
        return
    for attribute in node.attribute:
        for index, inner in enumerate(attribute.g.node):
            yield inner.name or f"{inner.op_type}_{index}", inner
            yield from _in_branches(inner)


def _table(model: LoadedModel, missing: dict[tuple[str, str], list[str]]) -> list[str]:
    rows = [("operator", "domain", "operator set", "nodes", "which")]
    for (domain, operator), names in sorted(missing.items()):
        version = str(model.opsets.get(domain, "not declared"))
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        rows.append((operator, domain or "ai.onnx", version, str(len(names)), ", ".join(names[:_SHOWN_NAMES]) + more))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
