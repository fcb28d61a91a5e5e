"""Importer of Einsum, as transpositions and matrix products."""

from __future__ import annotations

import re
from collections.abc import Iterable

from isa import InputError
from passes import Dim, product
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results
from pimc.frontend.operators.scatter import grid
from pimc.frontend.operators.shape_ops import reshaped

_EQUATION = re.compile(r"[A-Za-z.,]*(->[A-Za-z.]*)?")


class Term:
    """An operand together with the label of each of its axes.

    Axes of an ellipsis have the labels `0`, `1`, ... counted from the right.

    Attributes:
        operand: The operand.
        labels: One label an axis, each once.
    """

    def __init__(self, build: Builder, operand: Operand, labels: Iterable[str]) -> None:
        self._build = build
        self.operand = operand
        self.labels = tuple(labels)

    def dim(self, label: str) -> Dim:
        """Size of the axis with a label."""
        return self._build.shape(self.operand)[self.labels.index(label)]

    def dims(self, labels: Iterable[str]) -> tuple[Dim, ...]:
        """Sizes of the axes with some labels."""
        return tuple(map(self.dim, labels))

    def summed(self, gone: Iterable[str]) -> Term:
        """The sum over the axes with some labels."""
        axes = tuple(sorted(self.labels.index(label) for label in gone))
        if not axes:
            return self
        kept = [label for axis, label in enumerate(self.labels) if axis not in axes]
        return Term(
            self._build,
            self._build.emit("reduce_sum", [self.operand], {"axes": axes, "keepdims": False}),
            kept,
        )

    def ordered(self, labels: Iterable[str]) -> Operand:
        """The operand with its axes in another order."""
        perm = tuple(self.labels.index(label) for label in labels)
        if perm == tuple(range(len(perm))):
            return self.operand
        return self._build.emit("transpose", [self.operand], {"perm": perm})


def _labels(text: str, rank: int) -> list[str]:
    """Labels of the axes; an ellipsis stands for those that the letters leave."""
    before, dots, behind = text.partition("...")
    rest = rank - len(before) - len(behind)
    if "." in before + behind or rest < 0 or (not dots and rest):
        raise InputError(f"'{text}' does not describe an operand of rank {rank}")
    return [*before, *map(str, reversed(range(rest))), *behind]


def _diagonal(build: Builder, operand: Operand, labels: list[str]) -> Term:
    """Axes with the same label are made one: elements off the diagonal are set to 0 and summed away."""
    while len(set(labels)) < len(labels):
        later = next(axis for axis, label in enumerate(labels) if label in labels[:axis])
        first = labels.index(labels[later])
        shape = build.shape(operand)
        build.symbols.unify(shape[first], shape[later], f"the diagonal '{labels[later]}' of Einsum")
        is_on = build.emit("equal", [grid(build, shape, first), grid(build, shape, later)])
        kept = build.emit("where", [is_on, operand, build.scalar(0, operand.type.dtype)])
        operand = build.emit("reduce_sum", [kept], {"axes": (later,), "keepdims": False})
        labels = [label for axis, label in enumerate(labels) if axis != later]
    return Term(build, operand, labels)


def _contracted(build: Builder, a: Term, b: Term, needed: set[str]) -> Term:
    """The product of two terms, summed over the labels that nothing else needs.

    The axes of the right term that are not shared are merged into one, so that a constant right term without shared
    batch axes is the matrix of a linear map; those of the left term stay, in front of its rows.
    """
    a, b = (
        term.summed(label for label in term.labels if label not in needed and label not in other.labels)
        for term, other in ((a, b), (b, a))
    )
    shared = [label for label in a.labels if label in b.labels]
    _check_sizes(build, a, b, shared)
    batch, inner = [x for x in shared if x in needed], [x for x in shared if x not in needed]
    left, right = [x for x in a.labels if x not in shared], [x for x in b.labels if x not in shared]
    if not inner:
        return _multiplied(build, a, b, batch, left, right)
    mergeable = all(isinstance(dim, int) for dim in b.dims(right)) or len(right) == 1
    loose, columns = ([], right) if mergeable else (right[:-1], right[-1:])
    rows = reshaped(
        build,
        a.ordered([*batch, *left, *inner]),
        (*a.dims(batch), *(1 for _ in loose), *(a.dims(left) or (1,)), product(a.dims(inner))),
    )
    matrix = reshaped(
        build,
        b.ordered([*batch, *loose, *inner, *columns]),
        (*_spread(b, batch, loose, len(left)), product(b.dims(inner)), product(b.dims(columns))),
    )
    found = build.emit("matmul", [rows, matrix])
    shape = (*_wider(build, a, b, batch), *b.dims(loose), *a.dims(left), *b.dims(columns))
    return Term(build, reshaped(build, found, shape), (*batch, *loose, *left, *columns))


def _multiplied(build: Builder, a: Term, b: Term, batch: list[str], left: list[str], right: list[str]) -> Term:
    """The product of two terms element by element, with nothing to sum over."""
    rows = reshaped(build, a.ordered([*batch, *left]), (*a.dims(batch), *a.dims(left), *(1 for _ in right)))
    columns = reshaped(build, b.ordered([*batch, *right]), (*b.dims(batch), *(1 for _ in left), *b.dims(right)))
    return Term(build, build.emit("mul", [rows, columns]), (*batch, *left, *right))


def _spread(b: Term, batch: list[str], loose: list[str], left: int) -> tuple[Dim, ...]:
    """Leading axes of the right factor: those of the left term but its last are 1, and absent where none is before."""
    front = (*b.dims(batch), *b.dims(loose))
    return (*front, *(1,) * max(0, left - 1)) if front else ()


def _check_sizes(build: Builder, a: Term, b: Term, shared: list[str]) -> None:
    for label in shared:
        if not (label.isdigit() and 1 in (a.dim(label), b.dim(label))):
            build.symbols.unify(a.dim(label), b.dim(label), f"the label '{label}' of Einsum")


def _wider(build: Builder, a: Term, b: Term, batch: list[str]) -> tuple[Dim, ...]:
    return tuple(b.dim(label) if a.dim(label) == 1 else a.dim(label) for label in batch)


def _einsum(node: OnnxNode) -> Results:
    build, text = node.builder, node.text("equation", "").replace(" ", "")
    if not _EQUATION.fullmatch(text):
        raise InputError(f"the equation '{text}' of Einsum is not valid")
    left, arrow, right = text.partition("->")
    sources = left.split(",")
    if len(sources) != len(node.inputs):
        raise InputError(f"the equation '{text}' has {len(sources)} terms for {len(node.inputs)} operands")
    operands = [node.operand(index) for index in range(len(sources))]
    written = [_labels(source, build.rank(operand)) for source, operand in zip(sources, operands, strict=True)]
    wanted = _result_labels(text, right if arrow else None, written)
    terms = [_diagonal(build, operand, labels) for operand, labels in zip(operands, written, strict=True)]
    total, *others = terms
    for position, term in enumerate(others):
        later = {label for rest in others[position + 1 :] for label in rest.labels}
        total = _contracted(build, total, term, {*wanted, *later})
    return total.summed(label for label in total.labels if label not in wanted).ordered(wanted)


def _result_labels(equation: str, written: str | None, operands: list[list[str]]) -> list[str]:
    """Labels of the result; when they are not given: the ellipsis, then the labels that occur once, by alphabet."""
    every = [label for labels in operands for label in labels]
    dots = sorted({label for label in every if label.isdigit()}, key=int, reverse=True)
    if written is None:
        return [*dots, *sorted(label for label in set(every) if every.count(label) == 1 and not label.isdigit())]
    before, has_dots, behind = written.partition("...")
    wanted = [*before, *(dots if has_dots else ()), *behind]
    if len(set(wanted)) < len(wanted) or not set(wanted) <= set(every):
        raise InputError(f"the result of the equation '{equation}' is not valid")
    return wanted


EINSUM: dict[str, Importer] = {"Einsum": _einsum}
