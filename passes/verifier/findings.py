"""What the graph verifier finds."""

from __future__ import annotations

from dataclasses import dataclass

from passes.ir import Node


@dataclass(frozen=True, eq=False)
class Finding:
    """One broken rule.

    Attributes:
        message: What is wrong.
        node: The node at fault, `None` when the graph as a whole is.
    """

    message: str
    node: Node | None = None

    def __str__(self) -> str:
        if self.node is None:
            return self.message
        origin = f" from '{self.node.origins[0]}'" if self.node.origins else ""
        return f"{self.node.op} '{self.node.name}'{origin}: {self.message}"


class RuleBroken(Exception):
    """Raised inside a rule with what is wrong; the verifier adds the node."""
