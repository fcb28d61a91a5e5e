"""All policies by name."""

from __future__ import annotations

from passes.kv_policies.cam import AssociativeMemory
from passes.kv_policies.cpq import CascadePruneQuantize
from passes.kv_policies.h2o import HeavyHitters
from passes.kv_policies.integer import Integer
from passes.kv_policies.keep_all import KeepAll
from passes.kv_policies.kivi import Kivi
from passes.kv_policies.policy import Policy
from passes.kv_policies.pyramidkv import PyramidKV
from passes.kv_policies.quest import Quest
from passes.kv_policies.snapkv import SnapKV
from passes.kv_policies.topk import TopK
from passes.kv_policies.tova import TokenOmission
from passes.kv_policies.window import Window

_POLICY_TYPES: tuple[type[Policy], ...] = (
    KeepAll,
    Integer,
    Kivi,
    CascadePruneQuantize,
    Window,
    HeavyHitters,
    TokenOmission,
    SnapKV,
    PyramidKV,
    TopK,
    Quest,
    AssociativeMemory,
)
POLICIES: dict[str, type[Policy]] = {kind.name: kind for kind in _POLICY_TYPES}
"""All policies by name, in the order in which they are listed."""
