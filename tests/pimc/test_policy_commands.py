"""Policies on the command line: the table, compilation, verification against numpy, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pimc
from isa import Segment, load_machine, load_program
from passes import POLICIES
from pimc import cli
from pimc.observing import Record
from pimc.policy_verification import compressions_of, policy_cases, verify_policies
from pimc.simulator import Session

ROOT = Path(__file__).parents[2]
TINY = ROOT / "models" / "tiny-shakespeare.onnx"
LLAMA = ROOT / "models" / "corpus" / "llama-dynamo.onnx"


def test_the_table_has_every_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["policies"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["policy", "decides", "what", "it", "does"]
    assert all(f"\n{name} " in out for name in POLICIES)
    assert "\nkivi:bits=4,value_bits,group=32,residual=128\n" in out


def test_a_page_has_parameters_formula_source_and_differences(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["policies", "window"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("window (retention)\n\nKeep the first `sink` and the latest `budget - sink` tokens.\n")
    assert "budget     512      integer from 1 to 1,048,576  tokens kept, the newest included" in out
    for title in ("formula", "source", "differences"):
        assert f"\n{title}:\n  " in out


def test_policies_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["policies", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["policies"]
    assert [each["name"] for each in found] == list(POLICIES)
    assert cli.main(["policies", "topk", "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone in found
    (parameter,) = alone["parameters"]
    assert parameter == {
        "name": "k",
        "default": 32,
        "allowed": "integer from 1 to 1,048,576",
        "meaning": "keys that a query head attends to",
    }


def test_an_unknown_policy_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["policies", "h20"]) == 1
    assert capsys.readouterr().err == "error: there is no policy 'h20'\nhelp: did you mean 'h2o'?\n"


def test_compile_shows_policies_by_layer_and_the_program_keeps_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, text = tmp_path / "t.pim", tmp_path / "t.kv"
    text.write_text("window:budget=16 # all\n; none @ 1")
    command = ["compile", str(TINY), "--kv", f"@{text}", "-o", str(path), "--max-context", "64"]
    assert cli.main([*command, "--explain", "kv_compression"]) == 0
    out = capsys.readouterr().out
    assert "kv cache  window:budget=16 in layers 0, 2\n  kv cache  none in layer 1\n" in out
    assert "kv_compression: " in out
    assert load_program(path).metadata["kv"] == "window:budget=16 ; none @ 1"
    assert cli.main(["inspect", str(path)]) == 0
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines() if line.startswith("  kv")]
    assert rows == [
        ["kv", "cache", "2 of 3 layers: the first 4 and the latest 12 tokens"],
        ["kv", "cache", "1 of 3 layers: all tokens, exactly"],
        ["kv", "window:budget=16", "; none @ 1"],
    ]


def test_compile_and_generate_say_that_policies_do_not_act(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compile", str(TINY), "-o", str(tmp_path / "t.pim"), "--max-context", "64", "--kv"]
    assert cli.main([*command, "window:budget=64"]) == 0
    assert "the policies do not act within 64 tokens: they need 65" in capsys.readouterr().err
    assert cli.main([*command, "window:budget=64 ; h2o:budget=32 @ 1"]) == 0
    assert "do not act" not in capsys.readouterr().err
    for further in ([], ["--compare"]):
        generate = ["generate", str(TINY), "--prompt", "A", "--tokens", "2", "--kv", "window:budget=8", *further]
        assert cli.main(generate) == 0
        assert capsys.readouterr().err.count("the policies do not act within 3 tokens: they need 9") == 1


def test_evaluation_says_which_policies_do_not_act(capsys: pytest.CaptureFixture[str]) -> None:
    text = str(TINY.parent / "shakespeare-held-out.txt")
    command = ["eval", str(TINY), "--text", text, "--window", "32", "--limit", "1", "--contexts", "32", "--kv"]
    assert cli.main([*command, "window:budget=32", "window:budget=16"]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "do not act" in line]
    assert notes == ["window:budget=32: the policies do not act within 32 tokens: they need 33"]


@pytest.mark.parametrize("command", ["compile", "verify", "generate", "inspect"])
def test_wrong_policies_end_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--prompt", "x"] if command == "generate" else []
    assert cli.main([command, str(TINY), "--kv", "window:budgte=4", *more]) == 1
    assert capsys.readouterr().err.endswith(
        "--kv:1:8: error: the policy 'window' has no parameter 'budgte'\n  window:budgte=4\n         ^\n"
        "help: did you mean 'budget'?\n"
    )


def test_a_pipeline_without_caches_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compile", str(TINY), "--kv", "kivi", "--pipeline", "dead_code"]) == 1
    assert "error: this pipeline keeps no KV cache that policies could compress" in capsys.readouterr().err


def test_inspect_shows_what_policies_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(TINY), "--kv", "cpq ; kivi @ 1"]) == 0
    out = capsys.readouterr().out
    assert "cpq in layers 0, 2                        2  kv_compression" in out
    assert "kivi in layer 1                           1  kv_compression" in out


@pytest.mark.parametrize("numerics", ["fp32", "machine"])
@pytest.mark.parametrize("kv", ["window:sink=1,budget=20", "h2o:budget=16,interval=4"])
def test_programs_equal_the_meaning_of_their_policies(
    kv: str, numerics: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", str(LLAMA), "--kv", kv, "--max-context", "64", "--numerics", numerics]) == 0
    out = capsys.readouterr().out
    relation = "equal" if numerics == "fp32" else "follow"
    assert f"outputs {relation} those of the policies' meaning in numpy" in out
    if kv.startswith("window"):
        assert "the policies of 2 of 2 layers act within these 32 tokens, from token 21 on" in out


def test_programs_without_compression_equal_onnx_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(LLAMA), "--kv", "none", "--max-context", "64"]) == 0
    assert "outputs equal ONNX Runtime's" in capsys.readouterr().out


def test_a_policy_that_cannot_act_within_the_context_is_said_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(LLAMA), "--kv", "window:budget=200", "--max-context", "40"]) == 0
    expected = "the policies of 0 of 2 layers act within these 40 tokens: they change nothing"
    assert expected in capsys.readouterr().out


def test_given_inputs_are_compared_with_numpy() -> None:
    inputs = {"input_ids": np.arange(30)[None]}
    found = pimc.verify(LLAMA, inputs=inputs, max_context=48, kv="window:sink=0,budget=8")
    assert found.ok
    assert found.cases == ("the given inputs",)
    assert found.notes == ("the policies of 2 of 2 layers act within these 30 tokens, from token 9 on",)


def test_another_policy_is_not_accepted() -> None:
    """A program with one budget compared with the meaning of another one."""
    machine, record = load_machine("gddr6-aim"), Record()
    program = pimc.compile(LLAMA, machine, max_context=48, numerics="fp32", kv="window:sink=0,budget=9")
    pimc.compiler.compile_model(LLAMA, machine, max_context=48, observers=[record], kv="window:sink=0,budget=8")
    found = verify_policies(program, Session(program, machine), record.graphs[0])
    assert not found.ok


def test_rounding_may_turn_choices_of_keys_but_another_choice_is_not_accepted() -> None:
    """The same two programs, each against the meaning of both policies."""
    machine, graphs, programs = load_machine("gddr6-aim"), [], []
    for kv in ("cam:k=8", "cam:k=2,tile_top=1"):
        record = Record()
        programs.append(
            pimc.compiler.compile_model(TINY, machine, max_context=64, numerics="machine", observers=[record], kv=kv)
        )
        graphs.append(record.graphs[0])
    own, other = (verify_policies(programs[0], Session(programs[0], machine), graph) for graph in graphs)
    assert (own.ok, other.ok) == (True, False)
    assert own.rtol is None
    assert own.least_cosine < 0.999


def test_a_wrong_weight_is_found() -> None:
    machine, record = load_machine("gddr6-aim"), Record()
    program = pimc.compiler.compile_model(
        LLAMA, machine, max_context=48, numerics="fp32", observers=[record], kv="window:budget=8"
    )
    (weights,) = [segment for segment in program.segments if segment.region == "weights"]
    data = weights.data.copy()
    data[tuple(int(axis[0]) for axis in np.nonzero(data))] += 1
    broken = replace(program, segments=tuple(Segment(s.region, data) if s is weights else s for s in program.segments))
    assert not verify_policies(broken, Session(broken, machine), record.graphs[0]).ok


def test_cases_reach_beyond_the_first_effect() -> None:
    record = Record()
    program = pimc.compiler.compile_model(
        TINY, load_machine("gddr6-aim"), max_context=256, observers=[record], kv="window:budget=40 ; h2o:budget=60 @ 1"
    )
    for case in policy_cases(program, compressions_of(record.graphs[0])):
        assert sum(step.tokens for step in case) > 60 + 1
        assert [step.past for step in case[1:]] == list(np.cumsum([step.tokens for step in case[:-1]]))
