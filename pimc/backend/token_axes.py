"""Which axis of each value runs over the tokens, so that one token's part is a flat range of words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from isa import Place, UnsupportedError
from passes import Affine, Dim, Graph, Node, Value, explain, product

_ALIGNED = frozenset({"add", "sub", "mul", "div", "max", "min", "pow", "concat", "rotary"})
"""Operations whose constant operands may have a part for each token, aligned with the result from the right."""

_SAME_AXIS = frozenset({"linear", "rotary", "cached_attention", "feed_forward", "layer_norm", "rms_norm", "cumsum"})


@dataclass(frozen=True)
class TokenAxes:
    """Token axes of a graph.

    Attributes:
        tokens: The dimension that counts the tokens of a run.
        axes: For each value its token axis; values that are the same for all tokens are absent.
        key_masks: Graph inputs with one element for each attended position.
    """

    tokens: Dim
    axes: Mapping[Value, int]
    key_masks: frozenset[Value]

    def token_shape(self, value: Value) -> tuple[int, ...]:
        """Shape of one token's part (of the whole value when it has no token axis)."""
        axis = self.axes.get(value)
        dims = [dim for position, dim in enumerate(value.shape) if position != axis]
        if any(not isinstance(dim, int) for dim in dims):
            raise UnsupportedError(
                f"the value '{value.name}' of type {value.type} has a dynamic dimension besides the tokens",
                help="bind it with --dim",
            )
        return tuple(dim for dim in dims if isinstance(dim, int))

    def words(self, value: Value) -> int:
        """Elements of one token's part."""
        count = 1
        for size in self.token_shape(value):
            count *= size
        return count


def find_token_axes(graph: Graph) -> TokenAxes:
    """Propagate the token axis from the inputs to every value.

    Raises:
        UnsupportedError: the graph has no attention over a cache, its batch is not 1, or an operation mixes tokens.
    """
    nodes = graph.nodes
    attention = [node for node in nodes if node.op == "cached_attention"]
    if not attention:
        raise _no_attention(graph)
    batch, tokens = attention[0].operand(0).shape[:2]
    if batch != 1:
        message = f"the batch is {batch}; programs are compiled for a batch of 1"
        raise UnsupportedError(message, help="give --dim batch=1")
    masks = _key_masks(attention)
    axes = {value: 1 for value in graph.inputs if value not in masks and _is_token_input(value, tokens)}
    problems: list[str] = []
    for node in nodes:
        if node.output not in masks:
            _propagate(node, tokens, axes, problems)
    key_masks = frozenset(value for value in graph.inputs if value in masks)
    if len(key_masks) > 1:
        problems.append(f"attention '{attention[0].name}' and others use several key masks")
    if problems:
        raise UnsupportedError(
            f"{len(problems)} operations of '{graph.name}' cannot be computed token by token",
            Place(node=problems[0].split("'")[1]),
            notes=problems,
        )
    return TokenAxes(tokens, axes, key_masks)


def _no_attention(graph: Graph) -> UnsupportedError:
    return UnsupportedError(
        f"no attention block of '{graph.name}' was recognised, and a graph without one cannot be lowered",
        notes=refusals(graph),
        help="pimc inspect shows which attention nodes stayed unfused and why",
    )


def refusals(graph: Graph) -> list[str]:
    """Why passes left nodes as they were."""
    return [
        f"{finding.pass_name} left '{node}': {reason}" for finding in explain(graph) for node, reason in finding.unfused
    ]


def past_symbols(graph: Graph) -> frozenset[str]:
    """Symbols that stand for the length of the caches."""
    found: set[str] = set()
    for cache in graph.caches.values():
        kind = graph.signature.get(cache.past_key or "")
        found |= {name for dim in (kind.shape if kind else ()) if isinstance(dim, Affine) for name in dim.symbols}
    return frozenset(found)


def _is_token_input(value: Value, tokens: Dim) -> bool:
    return value.type.rank >= 2 and value.shape[1] == tokens


def _key_masks(attention: list[Node]) -> set[Value]:
    """Every value between a graph input and a `key_mask` operand; nothing but conversions may lie between."""
    found: set[Value] = set()
    waiting = [mask for node in attention if (mask := node.optional(3)) is not None]
    while waiting:
        value = waiting.pop()
        found.add(value)
        if value.producer is not None:
            if value.producer.op not in ("cast", "reshape", "identity"):
                raise UnsupportedError(
                    f"the key mask is computed by {value.producer.op}",
                    Place(node=value.producer.name),
                    help="key masks must be inputs of the model, 0 where a position is excluded",
                )
            waiting.append(value.producer.operand(0))
    return found


def _propagate(node: Node, tokens: Dim, axes: dict[Value, int], problems: list[str]) -> None:
    if node.op == "range" and node.output.shape == (tokens,):
        axes[node.output] = 0
        return
    carriers = [value for value in node.inputs if value is not None and value in axes]
    if not carriers:
        return
    rule = _RULES.get(node.op, _elementwise_axis)
    axis = rule(node, carriers[0], axes)
    if axis is None or any(rule(node, carrier, axes) != axis for carrier in carriers[1:]):
        problems.append(f"{node.op} '{node.name}' ({', '.join(node.origins)}) mixes tokens")
        return
    for value in node.outputs:
        axes[value] = axis
    operands = node.inputs[:3] if node.op == "cached_attention" else node.inputs
    for operand in operands:
        if operand is not None and operand not in axes:
            _meet(node, operand, axis, tokens, axes, problems)


def _meet(node: Node, value: Value, axis: int, tokens: Dim, axes: dict[Value, int], problems: list[str]) -> None:
    """An operand without a token axis meets tokens: a constant may have a part for each token, others are the same."""
    if not value.is_constant:
        problems.append(f"{node.op} '{node.name}' needs '{value.name}', which does not belong to one token")
    elif node.op in _ALIGNED:
        own = axis - node.output.type.rank + value.type.rank
        if own >= 0 and value.shape[own] == tokens != 1:
            axes[value] = own


def _elementwise_axis(node: Node, carrier: Value, axes: Mapping[Value, int]) -> int | None:
    if node.op in _SAME_AXIS:
        return axes[carrier]
    return axes[carrier] - carrier.type.rank + node.output.type.rank


def _reshape_axis(node: Node, carrier: Value, axes: Mapping[Value, int]) -> int | None:
    axis = axes[carrier]
    before, tokens = product(carrier.shape[:axis]), carrier.shape[axis]
    target = node.output.shape
    for position, dim in enumerate(target):
        if dim == tokens and product(target[:position]) == before:
            return position
    return None


def _transpose_axis(node: Node, carrier: Value, axes: Mapping[Value, int]) -> int | None:
    return tuple(node.attributes["perm"]).index(axes[carrier])


def _along_axis(node: Node, carrier: Value, axes: Mapping[Value, int]) -> int | None:
    axis = int(node.attributes["axis"]) % carrier.type.rank
    return None if axis == axes[carrier] else axes[carrier]


def _gather_axis(node: Node, carrier: Value, axes: Mapping[Value, int]) -> int | None:
    return axes[carrier] + int(node.attributes["axis"]) if carrier is node.inputs[1] else None


def _reduced_axis(node: Node, carrier: Value, axes: Mapping[Value, int]) -> int | None:
    reduced = {int(axis) % carrier.type.rank for axis in node.attributes["axes"]}
    if axes[carrier] in reduced:
        return None
    gone = 0 if node.attributes["keepdims"] else sum(axis < axes[carrier] for axis in reduced)
    return axes[carrier] - gone


def _never(node: Node, carrier: Value, axes: Mapping[Value, int]) -> int | None:
    return None


_RULES: dict[str, Callable[[Node, Value, Mapping[Value, int]], int | None]] = {
    "reshape": _reshape_axis,
    "transpose": _transpose_axis,
    "slice": _along_axis,
    "concat": _along_axis,
    "split": _along_axis,
    "softmax": _along_axis,
    "gather": _gather_axis,
    **dict.fromkeys(("reduce_sum", "reduce_mean", "reduce_max", "reduce_min"), _reduced_axis),
    **dict.fromkeys(("matmul", "attention", "gather_nd", "gather_elements", "argmax", "trilu", "cumsum"), _never),
}
