"""Attention in crossbars: keys and values, or X in their place, are written, then multiplied from either side."""

from __future__ import annotations

from dataclasses import dataclass

from isa import Indexed, ResourceLimitError, UnsupportedError
from passes import Node
from pimc.backend.crossbar.hybrid_softmax import SoftmaxRows, emit_hybrid_softmax
from pimc.backend.crossbar.rooms import Rooms
from pimc.backend.crossbar.tokens import Row, Step, TokenLoop


@dataclass(frozen=True)
class Head:
    """What one query head works with.

    Attributes:
        key_group: Group that holds its keys as columns [D, n].
        value_group: Group that holds its values as columns [E, n], which is used from the other side.
    """

    key_group: int
    value_group: int


@dataclass(frozen=True)
class CrossbarAttention:
    """One attention.

    Attributes:
        tokens: Queries and keys n.
        scale: Factor of the scores.
        query: [n, H*D].
        key: [n, G*D].
        value: [n, G*E].
        result: [n, H*E].
        scores: [n, H*n].
        heads: Of each query head.
        largest: [n, H], for the softmax.
        exponentials: As the scores, for a softmax by tables; `None` where the vector unit divides.
        sums: [n, H], for a softmax by tables.
        kv_heads: Key heads G.
        array_rows: Lines of an array.
    """

    tokens: int
    scale: float
    query: Row
    key: Row
    value: Row
    result: Row
    scores: Row
    largest: Row
    heads: tuple[Head, ...]
    kv_heads: int
    array_rows: int
    exponentials: Row | None = None
    sums: Row | None = None

    def write_step(self) -> Step:
        """Write a token's keys and values; nothing twice where both are the same."""
        return Step(self._write, (self.key, self.value))

    def attend_steps(self) -> list[Step]:
        """Scores, softmax and mixed values of a token."""
        return [
            Step(self._scores, (self.query,), self.scores),
            Step(self._softmax, (self.scores,), self.scores),
            Step(self._mix, (self.scores,), self.result),
        ]

    def _write(self, loop: TokenLoop) -> None:
        shared = len(self.heads) // self.kv_heads
        done: set[int] = set()
        for number, head in enumerate(self.heads):
            for group, row in ((head.key_group, self.key), (head.value_group, self.value)):
                if group not in done:
                    width = row.width // self.kv_heads
                    start = loop.at(row, number // shared * width)
                    loop.emitter.emit("xprog", group, Indexed(0, loop.token), start, width)
                    done.add(group)

    def _scores(self, loop: TokenLoop) -> None:
        width = self.query.width // len(self.heads)
        for number, head in enumerate(self.heads):
            loop.emitter.emit(
                "xmvm",
                dst=loop.at(self.scores, number * self.tokens),
                a=loop.at(self.query, number * width),
                begin=0,
                group=head.key_group,
                inputs=width,
                rows=-(-width // self.array_rows),
                len=self.tokens,
                scale=self.scale,
            )

    def _softmax(self, loop: TokenLoop) -> None:
        """exp(a - largest) / sum, all heads of the token together."""
        n, heads = self.tokens, len(self.heads)
        scores, largest = loop.at(self.scores), loop.at(self.largest)
        if self.exponentials is not None and self.sums is not None:
            words = (scores, loop.at(self.exponentials), largest, loop.at(self.sums))
            emit_hybrid_softmax(loop.emitter, SoftmaxRows(*words, n, heads, n))
            return
        sized = {"len": n, "rows": heads}
        rows = {"dst_row": n, "a_row": n, "b_row": 1, "b_step": 0}
        emit = loop.emitter.emit
        emit("rmax", largest, scores, a_row=n, **sized)
        emit("vsub", scores, scores, largest, **sized, **rows)
        emit("vmap", scores, scores, fn="exp", dst_row=n, a_row=n, **sized)
        emit("rsum", largest, scores, a_row=n, **sized)
        emit("vdiv", scores, scores, largest, **sized, **rows)

    def _mix(self, loop: TokenLoop) -> None:
        width = self.result.width // len(self.heads)
        for number, head in enumerate(self.heads):
            loop.emitter.emit(
                "xmvm",
                dst=loop.at(self.result, number * width),
                a=loop.at(self.scores, number * self.tokens),
                begin=0,
                group=head.value_group,
                inputs=self.tokens,
                rows=-(-self.tokens // self.array_rows),
                len=width,
                side="transposed",
                vector="unsigned",
            )


def heads_of(node: Node, rooms: Rooms, copies: int) -> tuple[Head, ...]:
    """Groups for each query head; X, which all heads share, is in `copies` groups, which take turns."""
    heads, kv_heads = int(node.attributes["heads"]), int(node.attributes["kv_heads"])
    if node.operand(1) is node.operand(2) and kv_heads == 1:
        groups = [rooms.group() for _ in range(min(copies, 2 * heads))]
        return tuple(Head(groups[2 * n % len(groups)], groups[(2 * n + 1) % len(groups)]) for n in range(heads))
    apart = [Head(rooms.group(), rooms.group()) for _ in range(kv_heads)]
    return tuple(apart[n * kv_heads // heads] for n in range(heads))


def check_attention(node: Node, tokens: int, rooms: Rooms) -> None:
    """Refuse what this lowering cannot do.

    Raises:
        UnsupportedError: masks, past keys, capped scores, keys of another length.
        ResourceLimitError: keys or tokens do not fit a group.
    """
    attributes = node.attributes
    wrong = [
        name
        for name, is_there in (
            ("a causal mask", attributes["causal"]),
            ("a window", attributes["window"]),
            ("capped scores", attributes["softcap"]),
            ("past keys", node.optional(3)),
            ("a mask of keys", node.optional(5)),
            ("a bias of the scores", node.optional(6)),
            ("keys of other tokens than the queries", node.operand(1).shape[1] != tokens),
        )
        if is_there
    ]
    if wrong:
        raise UnsupportedError(f"attention '{node.name}' in crossbars cannot have {', '.join(wrong)}")
    part = rooms.crossbar
    widths = [int(str(node.operand(index).shape[2])) // int(attributes["kv_heads"]) for index in (1, 2)]
    if tokens > part.columns or max(widths) > part.rows or not part.dual_access:
        raise ResourceLimitError(
            f"keys and values of attention '{node.name}' do not fit a group of arrays",
            notes=[
                f"demand: {max(widths)} rows, {tokens} columns, dual access",
                f"bound: {part.rows} rows, {part.columns} columns, {'' if part.dual_access else 'no '}dual access",
            ],
            help="give fewer tokens, or a machine with larger groups",
        )
