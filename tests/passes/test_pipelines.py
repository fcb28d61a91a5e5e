import dataclasses

import pytest

from isa import InputError
from passes.assign_storage import AssignStorage
from passes.canonicalize import Canonicalize
from passes.constant_folding import ConstantFolding
from passes.dead_code import DeadCode
from passes.decompose_attention import DecomposeAttention
from passes.manager import Pass
from passes.pipelines import PASSES, PIPELINES, decomposing, parse_pipeline, pipeline


def test_passes_with_and_without_options() -> None:
    assert parse_pipeline(" canonicalize, constant_folding{max_bytes=16},dead_code ") == [
        Canonicalize(),
        ConstantFolding(max_bytes=16),
        DeadCode(),
    ]
    assert parse_pipeline("assign_storage{ largest_shared_words = 5 }") == [AssignStorage(5)]
    assert parse_pipeline("") == []


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("canonicalise", "there is no pass 'canonicalise'", "did you mean 'canonicalize'?"),
        ("dead_code{x=1}", "pass 'dead_code' has no option 'x'", "it has no options"),
        (
            "constant_folding{max_byte=1}",
            "pass 'constant_folding' has no option 'max_byte'",
            "did you mean 'max_bytes'?",
        ),
        (
            "constant_folding{max_bytes}",
            "option 'max_bytes' of pass 'constant_folding' has no value",
            "write constant_folding{max_bytes=VALUE}",
        ),
        (
            "constant_folding{max_bytes=1.5}",
            "option 'max_bytes' of pass 'constant_folding' must be an integer, not '1.5'",
            None,
        ),
        ("dead_code{", "'dead_code{' is not a list of passes", "write passes like a,b{option=1},c"),
        (",dead_code", "',dead_code' is not a list of passes", "write passes like a,b{option=1},c"),
    ],
)
def test_what_is_not_a_pipeline(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(InputError) as caught:
        parse_pipeline(text)
    assert caught.value.message == message
    assert caught.value.help == hint


def test_o0_is_the_default_without_the_optional_passes() -> None:
    assert [step for step in pipeline("default") if not step.optional] == list(pipeline("O0"))
    assert any(step.optional for step in pipeline("default"))
    with pytest.raises(InputError, match="there is no pipeline 'defualt'"):
        pipeline("defualt")


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_says_what_it_does(name: str) -> None:
    kind = PASSES[name]
    documentation = kind.__doc__ or ""
    for part in ("Precondition:", "Effect:", "Postcondition:"):
        assert part in documentation
    assert dataclasses.is_dataclass(kind)
    assert kind.name == name
    further = ("binarize_attention", "decompose_attention", "kv_compression")
    assert any(step.name == name for step in PIPELINES["default"]) != (name in further)


def test_a_named_pipeline_stands_for_its_passes() -> None:
    assert parse_pipeline("default") == list(PIPELINES["default"])
    assert parse_pipeline("O0,dead_code") == [*PIPELINES["O0"], *parse_pipeline("dead_code")]


def test_attention_on_x_decomposes_between_the_projections_and_their_merging() -> None:
    names = [step.name for step in pipeline("attention_on_x")]
    place = names.index("decompose_attention")
    assert names[place - 1 : place + 2] == ["select_columns", "decompose_attention", "merge_linear"]
    assert [*names[:place], *names[place + 1 :]] == [step.name for step in pipeline("default")]
    assert _step("attention_on_x") == parse_pipeline("decompose_attention{choose=all,cache=x}")[0]


def test_decomposition_is_added_where_it_belongs_and_nowhere_else() -> None:
    added = DecomposeAttention(vector_ps=7, write_ps=3)
    default = decomposing(pipeline("default"), added)
    assert default.index(added) == pipeline("attention_on_x").index(_step("attention_on_x"))
    timed = decomposing(pipeline("attention_on_x"), added)
    assert timed[default.index(added)] == DecomposeAttention("all", 7, 3, cache="x")
    assert decomposing([DecomposeAttention(vector_ps=5)], added) == [DecomposeAttention(vector_ps=5, write_ps=3)]
    assert decomposing(pipeline("O0"), added) == list(pipeline("O0"))


def _step(name: str) -> Pass:
    (step,) = (step for step in pipeline(name) if step.name == "decompose_attention")
    return step
