"""Figures of an evaluation: of each policy over all windows, and of all policies side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pimc.evaluation.attention_error import AttentionError
from pimc.evaluation.costs import Cost
from pimc.evaluation.window_run import WindowResult, summed

BASELINE = "none"
"""The policy that keeps everything; others are compared with it."""

SCHEMA_VERSION = 1
"""Version of the JSON that `Evaluation.to_json` gives."""


@dataclass(frozen=True)
class PolicyResult:
    """One policy over the text.

    Attributes:
        policy: Its specification, `none` for the plain cache.
        label: What tables call it: the same, or `@NAME` of the file where it was read.
        windows: What every window gave, in order.
        without_data: Cost at contexts that no window reaches, measured without data.
    """

    policy: str
    label: str
    windows: tuple[WindowResult, ...]
    without_data: Mapping[int, Cost]

    @property
    def perplexity(self) -> float:
        """exp of the mean -log p of the scored tokens; infinite when it overflows."""
        mean = sum(each.loss_nats for each in self.windows) / sum(each.scored for each in self.windows)
        try:
            return math.exp(mean)
        except OverflowError:
            return math.inf

    @property
    def cache_bytes_per_token(self) -> float:
        """Size of the KV cache at the end of a window, over the tokens of the window."""
        return sum(each.cache_bytes for each in self.windows) / sum(each.tokens for each in self.windows)

    @property
    def compression_ratio(self) -> float:
        """Uncompressed size of the cache over its size, at the end of a window."""
        size = sum(each.cache_bytes for each in self.windows)
        return sum(each.uncompressed_bytes for each in self.windows) / size if size else 1.0

    @property
    def survivors(self) -> float | None:
        """Share of the elements that pruning leaves, at the end of a window; `None` when nothing is pruned."""
        known = [each.survivors for each in self.windows if each.survivors is not None]
        return sum(known) / len(known) if known else None

    def is_measured(self, context: int) -> bool:
        """Whether the cost at a context comes from the run over the text."""
        return all(context in each.at_context for each in self.windows)

    def cost(self, context: int) -> Cost:
        """The cost of decode steps at a context."""
        if self.is_measured(context):
            return summed([each.at_context[context] for each in self.windows])
        return self.without_data[context]


@dataclass(frozen=True)
class Evaluation:
    """All policies on one machine over one text.

    Attributes:
        facts: Model, machine, numerics, text, windows, as JSON values.
        contexts: Lengths at which costs are given, in ascending order.
        policies: The results, `none` first.
        reference: Perplexity of the model on ONNX Runtime, `None` when it was not asked for.
        attention: What policies that select keys lose in attention, by policy; empty when it was not asked for.
    """

    facts: Mapping[str, Any]
    contexts: tuple[int, ...]
    policies: tuple[PolicyResult, ...]
    reference: float | None
    attention: Mapping[str, AttentionError] = field(default_factory=dict[str, AttentionError])

    @property
    def baseline(self) -> PolicyResult:
        """The result of the plain cache."""
        return self.policies[0]

    @property
    def longest_measured(self) -> int:
        """The longest context whose cost comes from the run over the text; the shortest of all when none does."""
        measured = [context for context in self.contexts if self.baseline.is_measured(context)]
        return max(measured, default=min(self.contexts))

    def perplexity_change(self, result: PolicyResult) -> float:
        """Change of the perplexity against the plain cache, as a share of that."""
        return result.perplexity / self.baseline.perplexity - 1

    def to_json(self) -> dict[str, Any]:
        """JSON values with units in the keys."""
        return {
            "schema_version": SCHEMA_VERSION,
            **self.facts,
            "reference_perplexity": self.reference,
            "policies": [self._policy_json(result) for result in self.policies],
        }

    def _policy_json(self, result: PolicyResult) -> dict[str, Any]:
        error = self.attention.get(result.policy)
        return {
            "policy": result.policy,
            "label": result.label,
            "perplexity": _finite(result.perplexity),
            "perplexity_change": _finite(self.perplexity_change(result)),
            "kv_bytes_per_token": result.cache_bytes_per_token,
            "kv_ratio": result.compression_ratio,
            "kv_tokens_kept": max(each.tokens_kept for each in result.windows),
            "survivors": result.survivors,
            "levels": max(each.levels for each in result.windows),
            **({"attention": error.to_json()} if error is not None else {}),
            "contexts": [self._context_json(result, context) for context in self.contexts],
        }

    def _context_json(self, result: PolicyResult, context: int) -> dict[str, Any]:
        cost, plain = result.cost(context), self.baseline.cost(context)
        return {
            "context": context,
            "timing_only": not result.is_measured(context),
            "tokens_per_s": cost.tokens_per_s,
            "speedup": cost.tokens_per_s / plain.tokens_per_s,
            "energy_j_per_token": cost.energy_j_per_token,
            "kv_bytes_moved_per_token": cost.cache_bytes_moved_per_token,
            "utilization_by_unit": cost.busy_shares,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def all_contexts(asked: Sequence[int], window: int) -> tuple[int, ...]:
    """The contexts to report, ascending: those asked for, or a quarter, a half and the whole of a window."""
    return tuple(sorted(set(asked or (max(window // 4, 1), max(window // 2, 1), window))))
