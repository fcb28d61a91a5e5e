"""Which nodes work row by row (a row is a token of a sequence), and which axes of their values count the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from passes import Affine, Dim, Graph, Node, Value, product


@dataclass(frozen=True)
class Space:
    """The rows that one loop runs over.

    Attributes:
        batch: Number of sequences.
        tokens: Tokens of a sequence.
    """

    batch: int
    tokens: Dim


@dataclass(frozen=True)
class RowAxes:
    """Where a value has its rows.

    Attributes:
        space: The rows.
        token: Axis of the tokens.
        batch: Axis of the sequences; `None` when all sequences share the value, the token axis when both are one.
        fold: Elements of a row along the token axis, which counts tokens * fold.
    """

    space: Space
    token: int
    batch: int | None = None
    fold: int = 1

    @property
    def axes(self) -> frozenset[int]:
        """Axes that count rows."""
        return frozenset({self.token} if self.batch is None else {self.token, self.batch})

    @property
    def is_merged(self) -> bool:
        """Whether one axis counts the rows of all sequences."""
        return self.batch == self.token and self.space.batch > 1

    @property
    def is_uneven(self) -> bool:
        """Whether the elements of an axis are not evenly spaced when every row has a room of its own."""
        return self.is_merged or self.fold > 1


@dataclass(frozen=True)
class RowMap:
    """What works row by row.

    Attributes:
        main: Rows of the tokens that the host counts, `None` when the model has no attention.
        rows: Row axes of every value that has a part for each row; all other values are whole tensors.
        dense: Nodes that work on whole tensors.
    """

    main: Space | None
    rows: Mapping[Value, RowAxes]
    dense: frozenset[Node]

    def part_shape(self, value: Value) -> tuple[Dim, ...]:
        """Shape of one row's part: that of the value, with 1 (or the fold) for the axes that count rows."""
        own = self.rows.get(value)
        if own is None:
            return value.shape
        sizes = {**dict.fromkeys(own.axes, 1), own.token: own.fold}
        return tuple(sizes.get(axis, dim) for axis, dim in enumerate(value.shape))

    def words(self, value: Value) -> int:
        """Elements of one row's part; for whole tensors of fixed size all of them."""
        count = 1
        for size in self.part_shape(value):
            assert isinstance(size, int), f"'{value.name}' has a part of dynamic size"
            count *= size
        return count

    def space(self, node: Node) -> Space | None:
        """Rows that a node runs over, `None` for a dense one."""
        if node in self.dense:
            return None
        own = self.rows.get(node.output)
        return None if own is None else own.space


_RENAMES = frozenset({"cast", "reshape", "expand", "identity", "transpose"})
_IN_WORDS = frozenset({"topk", "argmax"})
"""Operations that write integers to the shared buffer, also for each row."""


def is_token_integer(rows: RowMap, value: Value) -> bool:
    """Whether the value is an integer that is computed row by row in a scalar register."""
    node = value.producer
    if node is None or value.type.dtype not in ("int64", "int32") or value not in rows.rows or node.op in _IN_WORDS:
        return False
    source = node.operand(0) if node.op in _RENAMES else None
    if source is None or source.producer is None or source.type.dtype not in ("int64", "int32"):
        return True
    return is_token_integer(rows, source)


_STARTERS = frozenset({"linear", "feed_forward", "cached_attention", "layer_norm", "rms_norm", "rotary"})
"""Operations that make rows of a whole tensor [batch, tokens, features]."""

_ALIGNED = frozenset(
    {"add", "sub", "mul", "div", "max", "min", "pow", "mod", "and", "or", "xor", "where", "concat", "rotary"}
    | {"equal", "less", "less_equal", "greater", "greater_equal"}
)
"""Operations whose operands line up with the result from the right, so that whole tensors have a part for each row."""

_SAME_AXIS = frozenset({"linear", "rotary", "feed_forward", "layer_norm", "rms_norm"})


def row_spaces(graph: Graph) -> list[Space]:
    """Rows that nodes start from, the main ones first."""
    found: dict[Space, None] = {}
    attention = [node for node in graph.nodes if node.op == "cached_attention"]
    for node in sorted(attention, key=lambda node: not node.attributes["causal"]):
        for value in (node.operand(0), node.optional(1)):
            if value is not None and isinstance(value.shape[0], int):
                found.setdefault(Space(value.shape[0], value.shape[1]))
    for node in graph.nodes:
        shape = node.operand(0).shape if node.op in _STARTERS else ()
        if len(shape) == 3 and isinstance(shape[0], int) and not (shape[0] == 1 and shape[1] == 1):
            found.setdefault(Space(shape[0], shape[1]))
    return list(found)


def find_rows(graph: Graph, problem: Callable[[Node, RowMap], bool]) -> RowMap:
    """Propagate rows from the inputs and from the operations that start them.

    Args:
        graph: The fused graph.
        problem: Whether the backend has no code for a node row by row; such nodes become dense.
    """
    spaces = row_spaces(graph)
    has_attention = any(node.op == "cached_attention" for node in graph.nodes)
    demoted = set(_mask_nodes(graph))
    while True:
        found = _propagate(graph, spaces, demoted, spaces[0] if has_attention and spaces else None)
        worse = {node for node in graph.nodes if node not in found.dense and problem(node, found)}
        worse |= set(_needed_whole(graph, found))
        if not worse:
            return found
        demoted |= worse


def _needed_whole(graph: Graph, found: RowMap) -> Iterator[Node]:
    """Producers of row values that have no words, or no even spacing, but are read as whole tensors."""
    for node in graph.nodes:
        if node not in found.dense:
            continue
        for value in node.inputs:
            producer = value.producer if value is not None else None
            if value is None or producer is None or producer in found.dense:
                continue
            own = found.rows.get(value)
            if own is not None and (is_token_integer(found, value) or own.is_uneven):
                yield producer
    for value in graph.outputs.values():
        own = found.rows.get(value)
        has_words = own is None or not (is_token_integer(found, value) or own.is_uneven)
        if not has_words and value.producer is not None:
            yield value.producer


def _mask_nodes(graph: Graph) -> Iterator[Node]:
    """Everything between the inputs (or the last operation on features) and a mask or bias of attention."""
    waiting = [
        value
        for node in graph.nodes
        if node.op == "cached_attention"
        for position in (3, 4)
        if (value := node.optional(position)) is not None
    ]
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop().producer
        if node is None or node in seen or node.op in _STARTERS:
            continue
        seen.add(node)
        waiting += [value for value in node.inputs if value is not None]
    yield from seen


def _whole_inputs(graph: Graph, demoted: set[Node]) -> set[Value]:
    """Inputs that only masks are made of."""
    return {
        value
        for value in graph.inputs
        if value.users
        and all(
            node in demoted or (node.op == "cached_attention" and value in (node.optional(3), node.optional(4)))
            for node in value.users
        )
    }


def _propagate(graph: Graph, spaces: list[Space], demoted: set[Node], main: Space | None) -> RowMap:
    rows: dict[Value, RowAxes] = {}
    whole = _whole_inputs(graph, demoted)
    for value in graph.inputs:
        own = None if value in whole else _input_rows(value, spaces)
        if own is not None:
            rows[value] = own
    dense: set[Node] = set()
    for node in graph.nodes:
        own = None if node in demoted else _node_rows(node, rows, spaces, main)
        if own is None:
            dense.add(node)
            continue
        for value in node.outputs:
            rows[value] = own
    return RowMap(main, rows, frozenset(dense))


def _input_rows(value: Value, spaces: list[Space]) -> RowAxes | None:
    if value.type.rank < 2:
        return None
    for space in spaces:
        if value.shape[1] == space.tokens and value.shape[0] in (1, space.batch):
            own = RowAxes(space, 1, 0 if space.batch > 1 and value.shape[0] != 1 else None)
            return own if _is_fixed(value, own) else None
    return None


def _is_fixed(value: Value, own: RowAxes) -> bool:
    return all(isinstance(dim, int) for axis, dim in enumerate(value.shape) if axis not in own.axes)


def _node_rows(node: Node, rows: Mapping[Value, RowAxes], spaces: list[Space], main: Space | None) -> RowAxes | None:
    """Row axes of the node's results, `None` when it works on whole tensors."""
    if node.op == "range":
        is_count = main is not None and node.output.shape == (main.tokens,) and isinstance(main.tokens, Affine)
        return RowAxes(main, 0) if is_count and main is not None else None
    if node.op == "cached_attention":
        return _started(node, spaces)
    carriers = [value for value in node.inputs if value is not None and value in rows]
    own = _agreed(node, carriers, rows) if carriers else _started(node, spaces)
    if own is None or any(not _is_fixed(value, own) for value in node.outputs):
        return None
    if not all(value.type.rank == node.output.type.rank for value in node.outputs):
        return None
    return own if _operands_fit(node, own, rows) else None


def _started(node: Node, spaces: list[Space]) -> RowAxes | None:
    shape = node.operand(0).shape if node.op in _STARTERS else ()
    if len(shape) != 3 or not isinstance(shape[0], int) or Space(shape[0], shape[1]) not in spaces:
        return None
    return RowAxes(Space(shape[0], shape[1]), 1, 0 if shape[0] > 1 else None)


def _agreed(node: Node, carriers: list[Value], rows: Mapping[Value, RowAxes]) -> RowAxes | None:
    """The row axes that all carriers lead to; sequences may share some of them."""
    rule = _RULES.get(node.op, _elementwise_rows)
    found = [rule(node, carrier, rows[carrier]) for carrier in carriers]
    known = [own for own in found if own is not None]
    if len(known) < len(found) or len({(own.space, own.token, own.fold) for own in known}) > 1:
        return None
    batches = {own.batch for own in known if own.batch is not None}
    if len(batches) > 1:
        return None
    return replace(known[0], batch=batches.pop() if batches else None)


def _operands_fit(node: Node, own: RowAxes, rows: Mapping[Value, RowAxes]) -> bool:
    """Whether every whole operand has a part for each row, or is the same for all of them."""
    if own.is_uneven and node.op in _ALIGNED:
        wholes = [value for value in node.inputs if value is not None and value not in rows]
        return all(_own_size(node, value, own.token) == 1 for value in wholes)
    if node.op in _ALIGNED or node.op in _STARTERS:
        return True
    return all(value is None or value in rows or value.is_constant for value in node.inputs)


def _own_size(node: Node, value: Value, axis: int) -> Dim:
    position = axis - node.output.type.rank + value.type.rank
    return value.shape[position] if position >= 0 else 1


def _moved(own: RowAxes, axis: Callable[[int], int | None]) -> RowAxes | None:
    """The same rows on other axes."""
    token = axis(own.token)
    batch = None if own.batch is None else axis(own.batch)
    if token is None or token < 0 or (own.batch is not None and (batch is None or batch < 0)):
        return None
    return replace(own, token=token, batch=batch)


def _elementwise_rows(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    if node.op in _SAME_AXIS:
        return own if carrier.type.rank == node.output.type.rank and carrier is node.inputs[0] else _beside(node, own)
    shift = node.output.type.rank - carrier.type.rank
    return _moved(own, lambda axis: axis + shift)


def _beside(node: Node, own: RowAxes) -> RowAxes | None:
    """Rows of a second operand, such as the tables of a rotary embedding, which lie on the same axes."""
    return own if node.op == "rotary" else None


def _reshape_rows(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    source, target = carrier.shape, node.output.shape
    if own.is_merged:
        return _unmerged(source, target, own)
    token = _same_place(source, target, own.token)
    batch = None if own.batch is None else _same_place(source, target, own.batch)
    if token is not None and (own.batch is None or batch is not None):
        return replace(own, token=token, batch=batch)
    if own.batch is None:
        return _refolded(source, target, own, own.space.tokens)
    if own.token == own.batch + 1 and own.fold == 1:
        rows = own.space.tokens * own.space.batch
        for position, dim in enumerate(target):
            if dim == rows and _product(target[:position]) == _product(source[: own.batch]):
                return RowAxes(own.space, position, position)
    return None


def _unmerged(source: tuple[Dim, ...], target: tuple[Dim, ...], own: RowAxes) -> RowAxes | None:
    same = _same_place(source, target, own.token)
    if same is not None:
        return replace(own, token=same, batch=same)
    folded = _refolded(source, target, own, own.space.tokens * own.space.batch)
    if folded is not None or own.fold > 1:
        return folded
    before = _product(source[: own.token])
    for position in range(len(target) - 1):
        pair = (own.space.batch, own.space.tokens)
        if target[position : position + 2] == pair and _product(target[:position]) == before:
            return RowAxes(own.space, position + 1, position)
    return None


def _refolded(source: tuple[Dim, ...], target: tuple[Dim, ...], own: RowAxes, rows: Dim) -> RowAxes | None:
    """The rows on an axis that counts more or fewer elements of each of them."""
    before = _product(source[: own.token])
    for position, dim in enumerate(target):
        fold = _times(dim, rows)
        if fold and _product(target[:position]) == before:
            return replace(own, token=position, batch=None if own.batch is None else position, fold=fold)
    return None


def _times(dim: Dim, rows: Dim) -> int:
    """How often `rows` is contained in `dim`, 0 when that is no number; a fixed number of rows is not searched for."""
    if isinstance(rows, int) or isinstance(dim, int) or not rows.terms:
        return 0
    fold = dim.terms[0][1] // rows.terms[0][1]
    return fold if fold and rows * fold == dim else 0


def _same_place(source: tuple[Dim, ...], target: tuple[Dim, ...], axis: int) -> int | None:
    """Axis of the target with the size of the axis of the source, and as many elements before it."""
    before = _product(source[:axis])
    for position, dim in enumerate(target):
        if dim == source[axis] and _product(target[:position]) == before:
            return position
    return None


def _product(dims: tuple[Dim, ...]) -> Dim | None:
    """Product of dimensions, `None` when it is not affine."""
    if sum(isinstance(dim, Affine) for dim in dims) > 1:
        return None
    return product(dims)


def _transpose_rows(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    return _moved(own, tuple(int(axis) % carrier.type.rank for axis in node.attributes["perm"]).index)


def _along_rows(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    axis = int(node.attributes["axis"]) % carrier.type.rank
    shift = node.output.type.rank - carrier.type.rank
    if axis in own.axes:
        return None
    return _moved(own, lambda place: place + (shift if place > axis else 0))


def _chosen_rows(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    return own if carrier is not node.inputs[0] or own.token < carrier.type.rank - 1 else None


def _gather_rows(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    axis = int(node.attributes["axis"])
    if carrier is node.inputs[0] or axis < 0:
        return None
    return _moved(own, lambda place: place + axis)


def _reduced_rows(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    reduced = {int(axis) % carrier.type.rank for axis in node.attributes["axes"]}
    if own.axes & reduced:
        return None
    if node.attributes["keepdims"]:
        return own
    return _moved(own, lambda place: place - sum(axis < place for axis in reduced))


def _never(node: Node, carrier: Value, own: RowAxes) -> RowAxes | None:
    return None


_RULES: dict[str, Callable[[Node, Value, RowAxes], RowAxes | None]] = {
    "reshape": _reshape_rows,
    "transpose": _transpose_rows,
    "gather": _gather_rows,
    **dict.fromkeys(("slice", "concat", "split", "softmax", "topk"), _along_rows),
    "expert_linear": _chosen_rows,
    **dict.fromkeys(("reduce_sum", "reduce_mean", "reduce_max", "reduce_min"), _reduced_rows),
    **dict.fromkeys(
        ("matmul", "attention", "gather_nd", "gather_elements", "argmax", "trilu", "cumsum", "scatter_nd"),
        _never,
    ),
    "scatter_elements": _never,
}
