"""What the backend can lower, checked for the whole graph before anything is emitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from isa import NearBank, Place, UnsupportedError
from passes import Graph, Node, Value, constant_scalar
from pimc.backend.scalars import is_token_integer, scalar_problem
from pimc.backend.schedule import ALIASES
from pimc.backend.token_axes import TokenAxes, refusals

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


def check_operations(graph: Graph, axes: TokenAxes, lowered: Mapping[str, object]) -> None:
    """Raise `UnsupportedError` that names every node that cannot be lowered, with the reason."""
    notes = [
        f"{node.op} '{node.name}'{_origin(node)}: {problem}"
        for node in graph.nodes
        for problem in _problems(graph, node, axes, lowered)
    ]
    notes += [f"output '{name}': {problem}" for name, problem in _output_problems(graph, axes)]
    if notes:
        first = next((node for node in graph.nodes if any(_problems(graph, node, axes, lowered))), None)
        raise UnsupportedError(
            f"{len(notes)} operations of '{graph.name}' cannot be lowered to instructions",
            Place(node=first.name) if first else None,
            notes=[*notes, *refusals(graph)],
        )


def _origin(node: Node) -> str:
    return f" from {', '.join(node.origins[:3])}" if node.origins else ""


def _problems(graph: Graph, node: Node, axes: TokenAxes, lowered: Mapping[str, object]) -> Iterator[str]:
    if node.output not in axes.axes:
        return
    if node.op not in lowered and node.op not in ALIASES and node.op != "cached_attention":
        yield "there is no lowering for this operation"
        return
    if is_token_integer(node.output):
        problem = scalar_problem(graph, node, axes)
    else:
        problem = _RULES.get(node.op, _no_problem)(graph, node, axes)
    if problem:
        yield problem


def _no_problem(graph: Graph, node: Node, axes: TokenAxes) -> Problem:
    integers = [value for value in node.inputs if value is not None and is_token_integer(value)]
    return "it mixes integers with other values" if integers else None


def _gather(graph: Graph, node: Node, axes: TokenAxes) -> Problem:
    if node.attributes["axis"] != 0 or node.operand(0).type.rank != 2 or not node.operand(0).is_constant:
        return "only rows of constant tables can be looked up"
    return None if axes.words(node.operand(1)) == 1 else "only one row a token can be looked up"


def _cast(graph: Graph, node: Node, axes: TokenAxes) -> Problem:
    source = node.operand(0)
    if is_token_integer(source):
        is_input = source.producer is None and not source.is_constant
        return None if is_input or axes.words(source) == 1 else "only one computed integer a token can be converted"
    return None if source.type.dtype.startswith(("float", "bfloat")) else f"{source.type.dtype} cannot be converted"


def _attention(graph: Graph, node: Node, axes: TokenAxes) -> Problem:
    if float(node.attributes["scale"]) <= 0:
        return f"the scale {node.attributes['scale']} is not positive"
    cache = graph.caches[str(node.attributes["cache"])]
    if not node.attributes["causal"] and cache.past_key is not None:
        return "attention over a cache must be causal"
    if node.attributes["window"] and not node.attributes["causal"]:
        return "a window needs a causal mask"
    return None


def _last_axis(graph: Graph, node: Node, axes: TokenAxes) -> Problem:
    rank = node.operand(0).type.rank
    named = node.attributes["axes"] if "axes" in node.attributes else (node.attributes["axis"],)
    return None if {int(axis) % rank for axis in named} == {rank - 1} else "it works on an axis that is not the last"


def _power(graph: Graph, node: Node, axes: TokenAxes) -> Problem:
    exponent = constant_scalar(node.inputs[1])
    return "its exponent is not constant" if exponent is None else None


def _range(graph: Graph, node: Node, axes: TokenAxes) -> Problem:
    return scalar_problem(graph, node, axes)


_RULES: dict[str, Callable[[Graph, Node, TokenAxes], Problem]] = {
    "gather": _gather,
    "cast": _cast,
    "range": _range,
    "cached_attention": _attention,
    "softmax": _last_axis,
    "reduce_sum": _last_axis,
    "reduce_mean": _last_axis,
    "pow": _power,
}


def _output_problems(graph: Graph, axes: TokenAxes) -> Iterator[tuple[str, str]]:
    for name, value in graph.outputs.items():
        if value not in axes.axes:
            yield name, "it has no token axis"
        elif is_token_integer(value):
            yield name, "integers cannot be outputs"
        elif _is_passed_through(value):
            yield name, "it is an input or a constant under another name"


def _is_passed_through(value: Value) -> bool:
    while value.producer is not None and value.producer.op in (*ALIASES, "slice", "transpose", "cast"):
        value = value.producer.operand(0)
    return value.producer is None

