"""Rules on the types of graph operations: what operands may be, and what results then are.

The rules take dimensions as they stand: two symbolic dimensions are equal only when their expressions are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isa import GraphError
from passes.dims import Affine, Dim
from passes.ir import Graph, Node, TensorType
from passes.ops import FLOAT_DTYPES, INTEGER_DTYPES
from passes.recognition.polynomials import equal_products
from passes.verifier.findings import Finding, RuleBroken
from passes.verifier.fused import FUSED_RULES
from passes.verifier.rules import Rule, broadcast, normal_axis, require

_NUMBERS = (*FLOAT_DTYPES, *INTEGER_DTYPES)


def type_findings(graph: Graph) -> Iterator[Finding]:
    """One finding for every node whose operand or result types are wrong."""
    for node in graph.nodes:
        try:
            wanted = _ALL_RULES[node.op](graph, node)
        except RuleBroken as broken:
            yield Finding(str(broken), node)
            continue
        except GraphError as problem:
            yield Finding(problem.message, node)
            continue
        for value, kind in zip(node.outputs, wanted, strict=False):
            if value.type != kind:
                yield Finding(f"the result '{value.name}' is {value.type}, but must be {kind}", node)


def _same_dtypes(node: Node, allowed: tuple[str, ...]) -> str:
    kinds = [value.type.dtype for value in node.inputs if value is not None]
    require(len(set(kinds)) == 1, f"the operands have different dtypes: {', '.join(kinds)}")
    require(kinds[0] in allowed, f"{kinds[0]} operands are not allowed")
    return kinds[0]


def _elementwise(allowed: tuple[str, ...], result: str | None = None) -> Rule:
    """Operands of one allowed dtype that broadcast; results are of the dtype `result`, or of the operands'."""

    def rule(graph: Graph, node: Node) -> list[TensorType]:
        dtype = _same_dtypes(node, allowed)
        shapes = [value.shape for value in node.inputs if value is not None]
        return [TensorType(result or dtype, broadcast(shapes))]

    return rule


def _power(graph: Graph, node: Node) -> list[TensorType]:
    base, exponent = node.operand(0).type, node.operand(1).type
    require(base.dtype in _NUMBERS and exponent.dtype in _NUMBERS, f"{base} to the power {exponent} is not allowed")
    return [TensorType(base.dtype, broadcast([base.shape, exponent.shape]))]


def _where(graph: Graph, node: Node) -> list[TensorType]:
    condition, a, b = (node.operand(index).type for index in range(3))
    require(condition.dtype == "bool", f"the condition is {condition}, but must be bool")
    require(a.dtype == b.dtype, f"the choices are {a} and {b}")
    return [TensorType(a.dtype, broadcast([condition.shape, a.shape, b.shape]))]


def _cast(graph: Graph, node: Node) -> list[TensorType]:
    return [TensorType(node.attributes["to"], node.operand(0).shape)]


def _identity(graph: Graph, node: Node) -> list[TensorType]:
    return [node.operand(0).type]


def _along_axis(graph: Graph, node: Node) -> list[TensorType]:
    kind = node.operand(0).type
    normal_axis(node, kind)
    return [kind]


def _matmul(graph: Graph, node: Node) -> list[TensorType]:
    dtype = _same_dtypes(node, _NUMBERS)
    a, b = node.operand(0).shape, node.operand(1).shape
    require(len(a) > 0 and len(b) > 0, "an operand of rank 0 is no matrix")
    depth = b[max(0, len(b) - 2)]
    require(a[-1] == depth, f"the inner dimensions {a[-1]} and {depth} differ")
    rows, columns = list(a[-2:-1]), list(b[-1:]) if len(b) > 1 else []
    return [TensorType(dtype, (*broadcast([a[:-2], b[:-2]]), *rows, *columns))]


def _reduce(graph: Graph, node: Node) -> list[TensorType]:
    kind, axes = node.operand(0).type, node.attributes["axes"]
    require(bool(axes) or kind.rank == 0, "no axes are given")
    return [_reduced(kind, axes, node.attributes["keepdims"])]


def _reduced(kind: TensorType, axes: tuple[int, ...], keepdims: bool) -> TensorType:
    for axis in axes:
        require(-kind.rank <= axis < kind.rank, f"axis {axis} does not exist in {kind}")
    gone = {axis % kind.rank for axis in axes}
    require(len(gone) == len(axes), f"axes {list(axes)} name an axis twice")
    dims = [1 if axis in gone else dim for axis, dim in enumerate(kind.shape) if keepdims or axis not in gone]
    return TensorType(kind.dtype, tuple(dims))


def _argmax(graph: Graph, node: Node) -> list[TensorType]:
    kind = _reduced(node.operand(0).type, (node.attributes["axis"],), node.attributes["keepdims"])
    return [TensorType("int64", kind.shape)]


def _topk(graph: Graph, node: Node) -> list[TensorType]:
    kind, axis, k = node.operand(0).type, normal_axis(node, node.operand(0).type), node.attributes["k"]
    size = kind.shape[axis]
    require(not isinstance(size, int) or k <= size, f"the {k} best of {size} elements are asked for")
    shape = (*kind.shape[:axis], k, *kind.shape[axis + 1 :])
    return [TensorType(kind.dtype, shape), TensorType("int64", shape)]


def _reshape(graph: Graph, node: Node) -> list[TensorType]:
    kind, shape = node.operand(0).type, node.attributes["shape"]
    require(equal_products(kind.shape, shape), f"{kind} and the new shape have different numbers of elements")
    return [TensorType(kind.dtype, shape)]


def _expand(graph: Graph, node: Node) -> list[TensorType]:
    kind, shape = node.operand(0).type, node.attributes["shape"]
    require(broadcast([kind.shape, shape]) == shape, f"{kind} does not broadcast to the new shape")
    return [TensorType(kind.dtype, shape)]


def _transpose(graph: Graph, node: Node) -> list[TensorType]:
    kind = node.operand(0).type
    perm: tuple[int, ...] = node.attributes["perm"]
    require(sorted(perm) == list(range(kind.rank)), f"{list(perm)} is no permutation of the axes of {kind}")
    return [TensorType(kind.dtype, tuple(kind.shape[axis] for axis in perm))]


def _span(start: Dim | float, stop: Dim | float, step: Dim | float) -> Dim:
    """Number of elements from start up to, without, stop."""
    numbers = [number for number in (start, stop, step) if not isinstance(number, Affine)]
    if len(numbers) == 3:
        return max(0, math.ceil((numbers[1] - numbers[0]) / numbers[2]))
    is_affine = step in (1, -1) and not isinstance(start, float) and not isinstance(stop, float)
    require(is_affine, f"the length of {start}:{stop}:{step} is not affine")
    assert isinstance(start, (int, Affine))
    assert isinstance(stop, (int, Affine))
    assert isinstance(step, int)
    return (stop - start) * step


def _slice(graph: Graph, node: Node) -> list[TensorType]:
    kind, axis = node.operand(0).type, normal_axis(node, node.operand(0).type)
    start, stop, step, size = (*(node.attributes[name] for name in ("start", "stop", "step")), kind.shape[axis])
    if all(isinstance(number, int) for number in (start, stop, size)):
        lowest = 0 if step > 0 else -1
        require(0 <= start <= size and lowest <= stop <= size, f"{start}:{stop} does not lie within {size} elements")
    return [TensorType(kind.dtype, (*kind.shape[:axis], _span(start, stop, step), *kind.shape[axis + 1 :]))]


def _range(graph: Graph, node: Node) -> list[TensorType]:
    return [TensorType(node.attributes["to"], (_span(*(node.attributes[name] for name in ("start", "stop", "step"))),))]


def _concat(graph: Graph, node: Node) -> list[TensorType]:
    kinds = [node.operand(index).type for index in range(len(node.inputs))]
    axis, first = normal_axis(node, kinds[0]), kinds[0]
    total: Dim = 0
    for kind in kinds:
        rest = (kind.dtype, kind.rank, kind.shape[:axis], kind.shape[axis + 1 :])
        alike = rest == (first.dtype, first.rank, first.shape[:axis], first.shape[axis + 1 :])
        require(alike, f"{first} and {kind} cannot be joined along axis {axis}")
        total = total + kind.shape[axis]
    return [TensorType(first.dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :]))]


def _split(graph: Graph, node: Node) -> list[TensorType]:
    kind, axis = node.operand(0).type, normal_axis(node, node.operand(0).type)
    total: Dim = 0
    for size in node.attributes["sizes"]:
        total = total + size
    require(total == kind.shape[axis], f"the sizes add up to {total}, but the axis has {kind.shape[axis]} elements")
    sizes = node.attributes["sizes"]
    return [TensorType(kind.dtype, (*kind.shape[:axis], size, *kind.shape[axis + 1 :])) for size in sizes]


def _indices(node: Node) -> TensorType:
    indices = node.operand(1).type
    require(indices.dtype in INTEGER_DTYPES, f"the indices are {indices}, but must be integers")
    return indices


def _gather(graph: Graph, node: Node) -> list[TensorType]:
    kind, indices = node.operand(0).type, _indices(node)
    axis = normal_axis(node, kind)
    return [TensorType(kind.dtype, (*kind.shape[:axis], *indices.shape, *kind.shape[axis + 1 :]))]


def _gather_elements(graph: Graph, node: Node) -> list[TensorType]:
    kind, indices = node.operand(0).type, _indices(node)
    normal_axis(node, kind)
    require(kind.rank == indices.rank, f"{kind} and the indices {indices} have different ranks")
    return [TensorType(kind.dtype, indices.shape)]


def _gather_nd(graph: Graph, node: Node) -> list[TensorType]:
    kind, indices, batch = node.operand(0).type, _indices(node), node.attributes["batch_dims"]
    require(indices.rank > batch, f"the indices {indices} have no axis of components")
    require(kind.shape[:batch] == indices.shape[:batch], f"the batches of {kind} and {indices} differ")
    depth = indices.shape[-1]
    require(isinstance(depth, int) and 1 <= depth <= kind.rank - batch, f"{depth} components do not index {kind}")
    assert isinstance(depth, int)
    return [TensorType(kind.dtype, (*indices.shape[:-1], *kind.shape[batch + depth :]))]


def _scatter_nd(graph: Graph, node: Node) -> list[TensorType]:
    kind, indices, updates = node.operand(0).type, _indices(node), node.operand(2).type
    depth = indices.shape[-1] if indices.rank else 0
    require(isinstance(depth, int) and 1 <= depth <= kind.rank, f"{depth} components do not index {kind}")
    assert isinstance(depth, int)
    wanted = TensorType(kind.dtype, (*indices.shape[:-1], *kind.shape[depth:]))
    require(updates == wanted, f"the updates are {updates}, but must be {wanted}")
    return [kind]


def _trilu(graph: Graph, node: Node) -> list[TensorType]:
    require(node.operand(0).type.rank >= 2, f"{node.operand(0).type} is no matrix")
    return [node.operand(0).type]


_ALL_RULES: dict[str, Rule] = {
    **dict.fromkeys(("add", "sub", "mul", "div", "mod", "max", "min"), _elementwise(_NUMBERS)),
    **dict.fromkeys(("less", "less_equal", "greater", "greater_equal"), _elementwise(_NUMBERS, "bool")),
    **dict.fromkeys(("and", "or", "xor", "not"), _elementwise(("bool",))),
    **dict.fromkeys(("neg", "abs", "sign", "relu"), _elementwise(_NUMBERS)),
    **dict.fromkeys(("sqrt", "reciprocal", "exp", "log", "sin", "cos", "tanh"), _elementwise(FLOAT_DTYPES)),
    **dict.fromkeys(("erf", "sigmoid", "silu", "floor", "ceil", "round", "gelu"), _elementwise(FLOAT_DTYPES)),
    **dict.fromkeys(("reduce_sum", "reduce_mean", "reduce_max", "reduce_min"), _reduce),
    **dict.fromkeys(("softmax", "cumsum"), _along_axis),
    **FUSED_RULES,
    "equal": _elementwise((*_NUMBERS, "bool"), "bool"),
    "is_nan": _elementwise(FLOAT_DTYPES, "bool"),
    "pow": _power,
    "identity": _identity,
    "cast": _cast,
    "where": _where,
    "matmul": _matmul,
    "argmax": _argmax,
    "topk": _topk,
    "reshape": _reshape,
    "expand": _expand,
    "transpose": _transpose,
    "slice": _slice,
    "concat": _concat,
    "split": _split,
    "gather": _gather,
    "gather_nd": _gather_nd,
    "gather_elements": _gather_elements,
    "scatter_nd": _scatter_nd,
    "range": _range,
    "trilu": _trilu,
}
