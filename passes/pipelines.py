"""The ordered lists of passes by name, and reading of pipelines that a user writes."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from isa import InputError
from passes.assign_storage import AssignStorage
from passes.binarize_attention import BinarizeAttention
from passes.canonicalize import Canonicalize
from passes.common_subexpressions import CommonSubexpressions
from passes.constant_folding import ConstantFolding
from passes.dead_code import DeadCode
from passes.decompose_attention import DecomposeAttention
from passes.expand_attention import ExpandAttention
from passes.fuse_activation import FuseActivation
from passes.fuse_attention import FuseAttention
from passes.fuse_experts import FuseExperts
from passes.fuse_feed_forward import FuseFeedForward
from passes.fuse_linear import FuseLinear
from passes.fuse_norm import FuseNorm
from passes.fuse_rotary import FuseRotary
from passes.kv_cache import KVCache
from passes.kv_compression import KVCompression
from passes.kv_policies import KvSpecification
from passes.manager import Pass
from passes.merge_linear import MergeLinear
from passes.merge_rotary import MergeRotary
from passes.select_columns import SelectColumns

_PASS_TYPES: tuple[type[Pass], ...] = (
    AssignStorage,
    BinarizeAttention,
    Canonicalize,
    CommonSubexpressions,
    ConstantFolding,
    DeadCode,
    DecomposeAttention,
    ExpandAttention,
    FuseActivation,
    FuseAttention,
    FuseExperts,
    FuseFeedForward,
    FuseLinear,
    FuseNorm,
    FuseRotary,
    KVCache,
    KVCompression,
    MergeLinear,
    MergeRotary,
    SelectColumns,
)
PASSES: dict[str, type[Pass]] = {kind.name: kind for kind in _PASS_TYPES}
"""All passes by name."""

_CLEAN_UP = "canonicalize,common_subexpressions,dead_code"
DEFAULT = (
    f"constant_folding,canonicalize,constant_folding,{_CLEAN_UP},"
    "fuse_norm,fuse_activation,fuse_linear,fuse_rotary,fuse_attention,"
    f"constant_folding,{_CLEAN_UP},select_columns,merge_linear,merge_rotary,fuse_feed_forward,kv_cache,"
    f"expand_attention,{_CLEAN_UP},fuse_experts,dead_code,assign_storage"
)
PIPELINES: dict[str, tuple[Pass, ...]] = {}
"""Named pipelines: `default`, `O0` without the optional passes, and `attention_on_x`, which decomposes all attention
that can be and lets caches hold X."""

Option = int | bool | str
"""Types that options of passes have."""

_STEP = re.compile(r"(?P<name>[^{},]+)(?:\{(?P<options>[^{}]*)\})?(?:,|$)")


def parse_pipeline(text: str) -> list[Pass]:
    """Read `a,b{x=1,y=true},c`: passes in order, with options in braces; a named pipeline stands for its passes.

    Raises:
        InputError: The text is not of this form, or a pass, an option or an option's value does not exist.
    """
    passes: list[Pass] = []
    for name, options in _steps(text):
        passes += PIPELINES[name] if name in PIPELINES and not options else [_parse_step(name, options)]
    return passes


def _steps(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    text = text.strip()
    while position < len(text):
        found = _STEP.match(text, position)
        if found is None:
            raise InputError(f"'{text[position:]}' is not a list of passes", help="write passes like a,b{option=1},c")
        yield found["name"].strip(), found["options"] or ""
        position = found.end()


def _parse_step(name: str, options: str) -> Pass:
    if name not in PASSES:
        raise InputError(f"there is no pass '{name}'", help=_suggestion(name, list(PASSES), "passes"))
    kind = PASSES[name]
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(kind)  # type: ignore[arg-type]
    defaults: dict[str, Option] = {field.name: cast(Option, field.default) for field in fields}
    given: dict[str, Option] = {}
    for option in filter(None, (part.strip() for part in options.split(","))):
        key, equals, value = (part.strip() for part in option.partition("="))
        if key not in defaults:
            raise InputError(f"pass '{name}' has no option '{key}'", help=_suggestion(key, list(defaults), "options"))
        if not equals:
            raise InputError(f"option '{key}' of pass '{name}' has no value", help=f"write {name}{{{key}=VALUE}}")
        given[key] = _parse_value(name, key, value, defaults[key])
    return kind(**given)


def _parse_value(name: str, key: str, text: str, default: Option) -> Option:
    """`text` as a value of the type that the default has."""
    if isinstance(default, bool):
        if text in ("true", "false"):
            return text == "true"
        raise InputError(f"option '{key}' of pass '{name}' must be true or false, not '{text}'")
    if isinstance(default, str):
        return text
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    raise InputError(f"option '{key}' of pass '{name}' must be an integer, not '{text}'")


def compressing(passes: Sequence[Pass], policies: KvSpecification | str) -> list[Pass]:
    """Passes that compress KV caches as `policies` say: right behind `kv_cache`, or where `kv_compression` stands.

    Raises:
        InputError: there is no `kv_cache` among the passes.
    """
    compression = KVCompression(policies)
    if any(step.name == compression.name for step in passes):
        return [compression if step.name == compression.name else step for step in passes]
    return _behind_caches(passes, compression, "policies could compress")


def binarizing(passes: Sequence[Pass], added: BinarizeAttention) -> list[Pass]:
    """Passes with `binarize_attention`: as they are where they have it, else `added` right behind `kv_cache`.

    Raises:
        InputError: there is no `kv_cache` among the passes.
    """
    if any(step.name == BinarizeAttention.name for step in passes):
        return list(passes)
    return _behind_caches(passes, added, "an associative memory could hold")


def decomposing(passes: Sequence[Pass], added: DecomposeAttention) -> list[Pass]:
    """Passes with `decompose_attention`: `added` before `merge_linear`, or its times where they have none of their own.

    Without `merge_linear` they stay as they are: its place is that of passes which do not have to run.
    """
    if any(isinstance(step, DecomposeAttention) for step in passes):
        return [_timed(step, added) if isinstance(step, DecomposeAttention) else step for step in passes]
    names = [step.name for step in passes]
    if MergeLinear.name not in names:
        return list(passes)
    position = names.index(MergeLinear.name)
    return [*passes[:position], added, *passes[position:]]


def _timed(step: DecomposeAttention, times: DecomposeAttention) -> DecomposeAttention:
    vector_ps, write_ps = step.vector_ps or times.vector_ps, step.write_ps or times.write_ps
    return dataclasses.replace(step, vector_ps=vector_ps, write_ps=write_ps)


def _behind_caches(passes: Sequence[Pass], added: Pass, purpose: str) -> list[Pass]:
    positions = [index for index, step in enumerate(passes) if step.name == KVCache.name]
    if not positions:
        raise InputError(f"this pipeline keeps no KV cache that {purpose}", help="add the pass kv_cache to --pipeline")
    return [*passes[: positions[0] + 1], added, *passes[positions[0] + 1 :]]


def _suggestion(wish: str, names: list[str], kind: str) -> str:
    if not names:
        return f"it has no {kind}"
    close = difflib.get_close_matches(wish, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"{kind}: {', '.join(sorted(names))}"


def pipeline(name: str) -> tuple[Pass, ...]:
    """The pipeline called `name`; raises `InputError` when there is none."""
    if name not in PIPELINES:
        raise InputError(f"there is no pipeline '{name}'", help=_suggestion(name, list(PIPELINES), "pipelines"))
    return PIPELINES[name]


PIPELINES["default"] = tuple(parse_pipeline(DEFAULT))
PIPELINES["O0"] = tuple(step for step in PIPELINES["default"] if not step.optional)
PIPELINES["attention_on_x"] = tuple(
    parse_pipeline(DEFAULT.replace("merge_linear,", "decompose_attention{choose=all,cache=x},merge_linear,"))
)
