"""How many Python functions the compiler calls for models of more and more layers."""

from __future__ import annotations

import cProfile
import pstats
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

MODELS = Path(__file__).parents[1] / "models"
if str(MODELS) not in sys.path:
    sys.path.append(str(MODELS))

from bert import BertConfig, build_bert  # noqa: E402
from llama import LlamaConfig, build_llama  # noqa: E402
from model_weights import AbsentWeights, RandomWeights  # noqa: E402

from isa import load_machine  # noqa: E402
from pimc.compiler import compile_model  # noqa: E402

if TYPE_CHECKING:
    from model_file import BuiltModel

LAYERS = (6, 12, 24, 48)
_LARGE = BertConfig(30522, 512, 2, 1024, 24, 16, 4096)


def bert_model(layers: int, large: bool = False) -> BuiltModel:
    """A BERT of so many layers: a small one with random weights, or one of BERT-large's width without."""
    if large:
        return build_bert(replace(_LARGE, layers=layers), AbsentWeights())
    return build_bert(BertConfig(layers=layers), RandomWeights(0))


def llama_model(layers: int) -> BuiltModel:
    """A small decoder of so many layers with a KV cache and random weights."""
    return build_llama(LlamaConfig(layers=layers), RandomWeights(0))


def count_calls(path: Path) -> int:
    """Calls of functions, Python's own included, while a model is compiled; a first compilation loads modules."""
    machine = load_machine("gddr6-aim")
    compile_model(path, machine, dims={"batch": 1})
    profile = cProfile.Profile()
    profile.enable()
    compile_model(path, machine, dims={"batch": 1})
    profile.disable()
    return int(pstats.Stats(profile).total_calls)


def is_linear(calls: Sequence[int]) -> bool:
    """Whether every doubling of the layers, from 6 on, adds at most 5 % more calls than twice the doubling before."""
    growths = [later - earlier for earlier, later in pairwise(calls)]
    return all(later <= 2.1 * earlier for earlier, later in pairwise(growths))
