"""Reading of specifications: what they mean, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa import InputError
from passes.kv_policies import (
    POLICIES,
    BestKeys,
    Compression,
    Layer,
    Quantized,
    Ring,
    Scored,
    load_kv,
    parameters,
    parse_kv,
    resolve,
)

KIVI = Quantized(4, 4, "channel", 32, 32, 128)
BITS = "note: bits: bits of a code; 2 or 4 or 8"
GOES = (
    "help: one policy each that evicts (window), quantises (int, kivi) and selects (topk) go together; topk and cam"
    " also go with any that evicts, quest with none"
)


def layers(count: int, width: int = 64) -> list[Layer]:
    return [Layer(number, count, width, width) for number in range(count)]


def test_one_policy_for_all_layers() -> None:
    assert resolve(parse_kv("kivi"), layers(3)) == (Compression(encoding=KIVI),) * 3


def test_later_clauses_override_earlier_ones_for_their_layers() -> None:
    found = resolve(parse_kv("kivi:bits=4 ; window @ 1-2,4 ; none @ 2"), layers(6))
    ring = Compression(Ring(512, 4))
    kivi = Compression(encoding=KIVI)
    assert found == (kivi, ring, None, kivi, ring, kivi)


def test_layers_that_no_clause_names_stay_exact() -> None:
    assert resolve(parse_kv("h2o @ 1"), layers(3))[0::2] == (None, None)


def test_policies_of_different_mechanisms_go_together() -> None:
    (found,) = resolve(parse_kv("window:sink=2,budget=256 + kivi + topk:k=8"), layers(1))
    assert found == Compression(Ring(256, 2), KIVI, BestKeys(8))


def test_defaults_follow_from_other_parameters() -> None:
    (heavy, snap, coded) = resolve(parse_kv("h2o:budget=50; snapkv:window=8 @ 1; int @ 2"), layers(3, 48))
    assert heavy == Compression(Scored(50, 1, 25, 0, 1, False))
    assert snap == Compression(Scored(256, 8, 8, 8, 5, False))
    assert coded == Compression(encoding=Quantized(8, 8, "token", 16, 48, 0))


def test_files_may_have_comments_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "all.kv"
    path.write_text("# found by hand\nkivi:bits=2,\n  group=16  # small\n;\nnone @ 0 - 1, 5;\n")
    found = load_kv(f"@{path}")
    assert found.text == "kivi:bits=2,group=16 ; none @ 0-1,5"
    assert parse_kv(found.text).text == found.text
    assert [each is None for each in resolve(found, layers(6))] == [True, True, False, False, False, True]


def test_places_in_files_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "wrong.kv"
    path.write_text("kivi\n; wndow @ 1\n")
    with pytest.raises(InputError) as refused:
        load_kv(f"@{path}")
    assert str(refused.value) == (
        f"{path}:2:3: error: there is no policy 'wndow'\n  ; wndow @ 1\n    ^\nhelp: did you mean 'window'?"
    )


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        load_kv(f"@{tmp_path}/none.kv")
    assert str(refused.value) == f"{tmp_path}/none.kv: error: the policies cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("kivy", 1, "there is no policy 'kivy'\nhelp: did you mean 'kivi'?"),
        ("KIVI", 1, "there is no policy 'KIVI'\nhelp: did you mean 'kivi'?"),
        ("kivi:bit=4", 6, "the policy 'kivi' has no parameter 'bit'\nhelp: did you mean 'bits'?"),
        ("topk:width=4", 6, "the policy 'topk' has no parameter 'width'\nhelp: parameters of topk: k"),
        ("kivi:bits=3", 11, "'bits' cannot be 3\nnote: bits: bits of a code; 2 or 4 or 8"),
        ("h2o:budget=0", 12, "'budget' cannot be 0\nnote: budget: tokens kept after an eviction; integer from 1 to"
         " 1,048,576"),
        ("h2o:per=token", 9, "'per' cannot be token\nnote: per: whether each key head evicts for itself, or all of a"
         " layer together; head or layer"),
        ("int:group=24", 11, "'group' cannot be 24\nnote: group: tokens that are quantised together; multiple of 16"
         " from 16 to 4,096"),
        ("cpq:tau_k=x", 11, "'tau_k' cannot be x\nnote: tau_k: magnitude below which keys are pruned; number from 0 to"
         " 10000"),
        ("kivi:bits=4,bits=2", 13, "the parameter 'bits' is given twice"),
        ("h2o:budget=8,recent=9", 1, "9 recent tokens do not fit a budget of 8 tokens\nhelp: give recent=8 or less"),
        ("window:sink=4,budget=4", 1, "a budget of 4 tokens has no room for 4 sinks and the newest token\nhelp: give"
         " budget=5 or more"),
        ("snapkv:window=64,interval=32", 1, "a window of 64 queries is longer than the 32 tokens between two"
         " evictions\nhelp: give interval=64 or more"),
        ("snapkv:budget=32", 1, "a window of 32 tokens leaves nothing of a budget of 32 tokens\nhelp: give budget=33 or"
         " more"),
        ("pyramidkv:budget=40", 1, "a beta of 20 leaves the last layer less than one of 8 tokens\nhelp: give beta=8 or"
         " less"),
        ("kivi:residual=100", 1, "100 exact tokens are no multiple of groups of 32\nhelp: give residual=128"),
        ("cam:tile=4,tile_top=5", 1, "a tile of 4 keys cannot pass on 5\nhelp: give tile_top=4 or less"),
        ("kivi + int", 8, f"'kivi' and 'int' both encode elements\n{GOES}"),
        ("h2o + tova", 7, f"'h2o' and 'tova' both evict tokens\n{GOES}"),
        ("topk + quest", 8, f"'topk' and 'quest' both select tokens\n{GOES}"),
        ("none + kivi", 8, f"'none' keeps everything and stands alone\n{GOES}"),
        ("kivi none", 6, "expected '+', '@' or ';', not 'none'"),
        ("kivi:", 6, "expected a parameter of kivi, not the end"),
        ("kivi:bits", 10, f"expected '=' and a value of 'bits', not the end\n{BITS}"),
        ("kivi:bits=", 11, f"expected a value of 'bits', not the end\n{BITS}"),
        ("kivi:bits=-4", 11, f"expected a value of 'bits', not '-'\n{BITS}"),
        ("kivi @", 7, "expected the number of a layer, not the end"),
        ("kivi @ first", 8, "expected the number of a layer, not 'first'"),
        ("kivi @ 5-2", 8, "the layers 5-2 run backwards\nhelp: write 2-5"),
        ("; 3", 3, "expected the name of a policy, not '3'"),
        ("kivi!", 5, "'!' means nothing in a specification of policies\nhelp: write POLICY:name=value,... [+ POLICY...]"
         " [@ LAYERS] ; ..."),
        ("", 1, f"no policy is named\nhelp: policies: {', '.join(POLICIES)}"),
    ],
)  # fmt: skip
def test_wrong_texts_are_refused_where_they_are_wrong(text: str, column: int, message: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_kv(text)
    first, _, rest = message.partition("\n")
    lines = [f"--kv:1:{column}: error: {first}", f"  {text}", "  " + " " * (column - 1) + "^", *filter(None, [rest])]
    assert str(refused.value) == "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h2o + kivi", "eviction by attention and quantisation contradict each other"),
        ("tova + cpq", "cpq stands alone"),
        ("cpq + topk", "cpq stands alone"),
        ("window + quest:dense=0", "selection by pages and eviction contradict each other"),
        ("window:sink=40 + kivi", "40 sinks do not fit into the first group of 32 tokens, which stays"),
        ("window:budget=163 + kivi", "a window of 159 tokens behind the sinks has no room for 160 exact ones"),
        ("window:sink=0,budget=15 + int", "a window of 15 tokens behind the sinks has no room for 16 exact ones"),
        ("cam + kivi", "cam and quantisation contradict each other"),
        ("window + int + cam", "cam and quantisation contradict each other"),
        ("quest:dense=0 + int", "quest and quantisation contradict each other"),
        ("none; kivi @ 1; kivi @ 4", "there is no layer 4"),
    ],
)
def test_contradictions_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        resolve(parse_kv(text), layers(4))
    assert refused.value.message == message
    assert refused.value.place is not None
    assert refused.value.notes or refused.value.help


def test_a_window_that_is_large_enough_for_the_exact_tokens_goes_with_codes() -> None:
    with pytest.raises(InputError) as refused:
        resolve(parse_kv("window:budget=60 + kivi"), layers(1))
    assert refused.value.help == "give budget=164 or more, or a smaller residual"
    assert resolve(parse_kv("window:budget=164 + kivi"), layers(1)) == (Compression(Ring(164, 4), KIVI),)
    assert resolve(parse_kv("window:budget=60 + kivi:residual=0"), layers(1))[0] is not None


def test_heads_that_the_runs_do_not_divide_are_named() -> None:
    with pytest.raises(InputError) as refused:
        resolve(parse_kv("none @ 0; kivi @ 1"), layers(2, 80))
    assert str(refused.value) == (
        "--kv:1:11: error: a key head of this model has 80 elements, which runs of 32 do not divide\n"
        "  none @ 0; kivi @ 1\n            ^\nnote: layer 1 of 2\nhelp: give group a divisor of 80"
    )


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_describes_itself(name: str) -> None:
    kind = POLICIES[name]
    summary = (kind.__doc__ or "").partition("\n")[0]
    assert summary.endswith(".")
    assert kind.formula
    assert kind.source
    assert kind.differences
    assert all(each.meaning and each.allowed for each in parameters(kind))


@pytest.mark.parametrize("name", POLICIES)
def test_defaults_of_every_policy_are_allowed(name: str) -> None:
    shown = [f"{each.name}={each.default}" for each in parameters(POLICIES[name]) if each.default is not None]
    spelled = parse_kv(f"{name}:{','.join(shown)}" if shown else name)
    assert resolve(spelled, layers(30)) == resolve(parse_kv(name), layers(30))
    compresses = [each is not None for each in resolve(spelled, layers(30))]
    assert compresses == [name != "none" and (name != "quest" or number >= 2) for number in range(30)]


@given(st.text("kivnoe:=,+@;- 0129#\n.", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_kv(text)
    except InputError as problem:
        assert problem.place is not None  # noqa: PT017
    else:
        assert parse_kv(found.text).text == found.text
