"""What happens to the attention weights between the softmax and their product with the values."""

from __future__ import annotations

from dataclasses import dataclass

from passes.ir import Node, Value, constant_scalar
from passes.recognition.matching import Refusal, only_user, producer
from passes.recognition.quantised_values import is_quantised


@dataclass(frozen=True)
class Mixing:
    """The product of attention weights with values.

    Attributes:
        product: The product.
        weights: The result of the softmax.
        zeroed: Condition of a `where` that sets weights to 0, and the kind of mask (as in `MaskTerm`) that it is;
            `None` when there is none.
        nodes: The product and the nodes between softmax and product.
    """

    product: Node
    weights: Value
    zeroed: tuple[Value, str] | None
    nodes: tuple[Node, ...]


def mixing_of(softmax: Node) -> Mixing:
    """The product that a softmax goes into, guarded against NaN or not; raises `Refusal`."""
    rank = softmax.output.type.rank
    if rank < 3:
        raise Refusal("")
    if softmax.attributes["axis"] not in (-1, rank - 1) or rank > 5:
        raise Refusal("softmax is not over the last of three to five axes")
    zeroed: tuple[Value, str] | None = None
    weights, nodes = softmax.output, list[Node]()
    while True:
        guard = next((user for user in weights.users if user.op == "where" and _is_guard(user, weights)), None)
        user = guard or only_user(weights)
        if user is None or user.op not in ("cast", "reshape", "where", "matmul"):
            if is_quantised(weights):
                raise Refusal("a quantisation stands between the softmax and its product with the values")
            raise Refusal("the softmax is not multiplied with values")
        nodes.append(user)
        if user.op == "matmul":
            break
        if guard is not None:
            nodes += [other for other in weights.users if other.op == "is_nan"]
        elif user.op == "where":
            zeroed = _zeroed(user, weights)
        weights = user.output
    if user.operand(0) is not weights:
        raise Refusal("the softmax is not multiplied with values")
    return Mixing(user, softmax.output, zeroed, tuple(nodes))


def _is_guard(node: Node, weights: Value) -> bool:
    """where(is_nan(weights), 0, weights)."""
    test = producer(node.operand(0), "is_nan")
    is_zero = constant_scalar(node.operand(1)) == 0.0
    return test is not None and test.operand(0) is weights and is_zero and node.operand(2) is weights


def _zeroed(node: Node, weights: Value) -> tuple[Value, str]:
    """The condition of where(c, 0, weights), which masks, or of where(c, weights, 0), which allows."""
    for kept, dropped, kind in ((2, 1, "masked"), (1, 2, "allowed")):
        if node.operand(kept) is weights and constant_scalar(node.operand(dropped)) == 0.0:
            return node.operand(0), kind
    raise Refusal("the softmax is replaced by other numbers than 0")
