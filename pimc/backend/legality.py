"""What the backend can lower, checked for the whole graph before anything is emitted."""

from __future__ import annotations

from collections.abc import Mapping

from isa import NearBank, Place, UnsupportedError
from passes import Affine, Graph, Node, Value, explain
from pimc.backend.attention.key_masks import input_masks
from pimc.backend.caches.choice import compression_problem
from pimc.backend.operations.scalars import scalar_problem
from pimc.backend.rows.row_axes import RowMap, is_token_integer

Problem = str | None


def check_machine(near_bank: NearBank) -> None:
    """Raise `UnsupportedError` when the machine lacks what the mapping relies on."""
    if near_bank.banks != near_bank.lanes:
        raise UnsupportedError(
            f"a channel has {near_bank.banks} banks, but a column has {near_bank.lanes} lanes",
            notes=["the layout of keys and values needs as many of the one as of the other"],
            help="set bank_groups * banks_per_group = lanes in the machine file",
        )
    if near_bank.mac_gb_column != "free":
        raise UnsupportedError(
            "the machine's MAC reads the global buffer column of the bank column (mac_gb_column: equal)",
            help="programs are compiled for mac_gb_column: free",
        )


def refusals(graph: Graph) -> list[str]:
    """Why passes left nodes as they were."""
    return [
        f"{finding.pass_name} left '{node}': {reason}" for finding in explain(graph) for node, reason in finding.unfused
    ]


def check_operations(graph: Graph, rows: RowMap, lowered: Mapping[str, object]) -> None:
    """Raise `UnsupportedError` that names every node that cannot be lowered, with the reason."""
    found = [(node, problem) for node in graph.nodes if (problem := _problem(graph, node, lowered)) is not None]
    notes = [f"{node.op} '{node.name}'{_origin(node)}: {problem}" for node, problem in found]
    notes += [f"input '{value.name}': {problem}" for value in graph.inputs if (problem := _batch_problem(value, rows))]
    if notes:
        raise UnsupportedError(
            f"{len(notes)} operations of '{graph.name}' cannot be lowered to instructions",
            Place(node=found[0][0].name) if found else None,
            notes=[*notes, *refusals(graph)],
        )


def _origin(node: Node) -> str:
    return f" from {', '.join(node.origins[:3])}" if node.origins else ""


def _batch_problem(value: Value, rows: RowMap) -> Problem:
    """A batch must be a number: its sequences are a loop around the tokens."""
    shape = value.shape
    if rows.main is None or value in rows.rows or not shape or len(shape) < 2:
        return None
    is_batch = isinstance(shape[0], Affine) and shape[1] == rows.main.tokens
    return f"its first dimension '{shape[0]}' is not bound: give --dim {shape[0]}=N" if is_batch else None


def _problem(graph: Graph, node: Node, lowered: Mapping[str, object]) -> Problem:
    if node.op not in lowered and node.op not in ("cached_attention", "transpose"):
        return "there is no lowering for this operation"
    if node.op == "cached_attention" and not isinstance(node.operand(0).shape[0], int):
        batch = node.operand(0).shape[0]
        return f"its batch '{batch}' is not bound: give --dim {batch}=N"
    if node.op == "cached_attention" and node.attributes["window"] and not node.attributes["causal"]:
        return "a window needs a causal mask"
    if node.op == "cached_attention":
        mask = node.optional(3)
        is_computed = mask is not None and mask not in input_masks(graph)
        return compression_problem(node, graph.caches[str(node.attributes["cache"])], is_computed)
    return None


def needs_whole_tensors(graph: Graph, node: Node, rows: RowMap, lowered: Mapping[str, object]) -> bool:
    """Whether there is no code for a node row by row, so that it has to work on whole tensors."""
    if node.op == "cached_attention":
        return False
    if is_token_integer(rows, node.output):
        return scalar_problem(graph, node, rows)
    if node.op == "gather":
        indices = node.operand(1)
        return is_token_integer(rows, indices) and rows.words(indices) != 1
    integers = [value for value in node.inputs if value is not None and is_token_integer(rows, value)]
    if node.op == "cast" and integers:
        return rows.words(node.operand(0)) != 1
    return bool(integers)
