"""Recognition of gelu and silu that an exporter spelled out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from passes.explain import record
from passes.ir import Graph, Node, Value
from passes.recognition.matching import Product, Refusal, close, producer, product_of, unscaled, with_constant
from passes.rewriting import add, origins_of, replace

_ANCHORS = {"erf": "gelu", "tanh": "gelu_tanh", "sigmoid": "silu"}


@dataclass(frozen=True)
class FuseActivation:
    """Replace spelled-out activations by `gelu` (erf or tanh form) and `silu`.

    Precondition: canonical form.
    Effect: 0.5 x (1 + erf(x / sqrt 2)), 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) and x sigmoid(x) become one
    node each, in any order of the factors and with x^3 as a power or a product.
    Postcondition: none of these is spelled out, but for those listed in the facts.
    """

    name: ClassVar[str] = "fuse_activation"
    optional: ClassVar[bool] = True
    reassociates: ClassVar[bool] = True

    def run(self, graph: Graph) -> bool:
        """Fuse every activation; returns whether there was one."""
        counts = dict.fromkeys(_ANCHORS.values(), 0)
        unfused: list[tuple[str, str]] = []
        for node in graph.nodes:
            if node not in graph or node.op not in _ANCHORS:
                continue
            try:
                found = match_activation(node)
            except Refusal as refusal:
                unfused.append((node.name, str(refusal)))
                continue
            counts[_ANCHORS[node.op]] += 1
            _rewrite(graph, node.op, found)
        record(graph, self.name, counts, unfused)
        return any(counts.values())


@dataclass(frozen=True)
class Activation:
    """A recognised activation: its argument, its result, and the nodes in between."""

    x: Value
    result: Value
    nodes: tuple[Node, ...]


def match_activation(node: Node) -> Activation:
    """The activation around an erf, tanh or sigmoid; raises `Refusal` (without a reason when it is just a function)."""
    if node.op == "erf":
        x, scale, nodes = unscaled(node.operand(0))
        if not close(scale, math.sqrt(0.5)):
            raise Refusal(f"erf is not of x / sqrt(2){_rounded(scale, math.sqrt(0.5))}")
        return _gate(node, x, nodes)
    if node.op == "tanh":
        x, nodes = _cubic_argument(node.operand(0))
        return _gate(node, x, nodes)
    product = _outermost_product(node.output, 1.0, node.operand(0))
    if product is None:
        raise Refusal("")
    return Activation(node.operand(0), product[0], (node, *product[1].nodes))


def _rounded(number: float | None, target: float) -> str:
    """What tells a reader that a constant is nearly the right one, as one that was rounded to a half precision is."""
    is_near = number is not None and abs(number - target) < 0.01 * target
    return f": the factor {target:.6g} was rounded to {number:.6g}" if is_near else ""


def _gate(node: Node, x: Value, inner: tuple[Node, ...]) -> Activation:
    """0.5 * x * (1 + f(x))."""
    for plus in node.output.users:
        found = with_constant(plus) if plus.op == "add" else None
        if found is None or found[1] != 1.0 or len(node.output.uses) != 1:
            continue
        product = _outermost_product(plus.output, 0.5, x)
        if product is not None:
            return Activation(x, product[0], (*inner, node, plus, *product[1].nodes))
    raise Refusal(f"{node.op} is not part of 0.5 x (1 + {node.op}(...))")


def _outermost_product(factor: Value, constant: float, x: Value) -> tuple[Value, Product] | None:
    """The product constant * x * factor that `factor` goes into: its value and parts."""
    reached = factor
    while True:
        users = reached.users
        if len(reached.uses) != 1 or users[0].op not in ("mul", "div"):
            return None
        reached = users[0].output
        product = product_of(reached)
        if set(product.factors) == {factor, x} and len(product.factors) == 2 and close(product.constant, constant):
            return reached, product


def _cubic_argument(value: Value) -> tuple[Value, tuple[Node, ...]]:
    """x of sqrt(2 / pi) (x + 0.044715 x^3), also written as sqrt(2 / pi) x (1 + 0.044715 x^2)."""
    outer = product_of(value)
    if not close(outer.constant, math.sqrt(2 / math.pi)):
        rounded = _rounded(outer.constant, math.sqrt(2 / math.pi))
        raise Refusal(f"tanh is not of sqrt(2 / pi) (x + 0.044715 x^3){rounded}" if rounded else "")
    for plus in outer.factors:
        node = producer(plus, "add")
        rest = [factor for factor in outer.factors if factor is not plus]
        if node is None or len(rest) > 1 or len(rest) + 1 != len(outer.factors):
            continue
        x = rest[0] if rest else _linear_term(node)
        cube = _other_term(node, x, bool(rest))
        if x is not None and cube is not None and _is_power(cube, x, 2 if rest else 3):
            return x, (*outer.nodes, node, *cube.nodes)
    raise Refusal("tanh is not of sqrt(2 / pi) (x + 0.044715 x^3)")


def _linear_term(node: Node) -> Value | None:
    """The operand of x + c x^3 that the other one is a power of."""
    for position in (0, 1):
        x = node.operand(position)
        if _is_power(product_of(node.operand(1 - position)), x, 3):
            return x
    return None


def _other_term(node: Node, x: Value | None, beside_one: bool) -> Product | None:
    if beside_one:
        found = with_constant(node)
        return product_of(found[0]) if found is not None and found[1] == 1.0 else None
    return product_of(node.operand(1) if node.operand(0) is x else node.operand(0))


def _is_power(product: Product, x: Value, exponent: int) -> bool:
    """Whether a product is 0.044715 x^exponent."""
    if not close(product.constant, 0.044715):
        return False
    total = 0
    for factor in product.factors:
        power = producer(factor, "pow")
        if factor is x:
            total += 1
        elif power is not None and power.operand(0) is x and (found := _exponent(power)) is not None:
            total += found
        elif (square := producer(factor, "mul")) is not None and square.operand(0) is x and square.operand(1) is x:
            total += 2
        else:
            return False
    return total == exponent


def _exponent(power: Node) -> int | None:
    product = product_of(power.operand(1))
    return int(product.constant) if not product.factors and product.constant in (2.0, 3.0) else None


def _rewrite(graph: Graph, anchor: str, found: Activation) -> None:
    origins = origins_of(found.nodes)
    if anchor == "sigmoid":
        new = add(graph, "silu", [found.x], found.result.type, origins)
    else:
        attributes = {"approximate": "none" if anchor == "erf" else "tanh"}
        new = add(graph, "gelu", [found.x], found.result.type, origins, attributes)
    replace(graph, found.result, new)
