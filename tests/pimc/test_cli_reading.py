"""What commands print is for reading: width of tables, closing lines, results before errors, short reprs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import isa
import pimc
from pimc import cli

ROOT = Path(__file__).parent.parent.parent
LLAMA = ROOT / "models" / "corpus" / "llama-dynamo.onnx"
SPEAKER = ROOT / "models" / "tiny-shakespeare.onnx"
COLUMNS = 100


@pytest.mark.parametrize(
    "arguments",
    [
        ["passes"],
        ["isa"],
        ["isa", "vmap"],
        ["passes", "fuse_attention"],
        ["machines"],
        *(["machines", name] for name in isa.machine_names()),
    ],
    ids=" ".join,
)
def test_reference_pages_fit_a_terminal(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= COLUMNS


def test_the_list_of_instructions_shows_what_must_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["isa"]) == 0
    out = capsys.readouterr().out
    assert "vcmp      0x27    vector     dst a b len fn  dst = int32 word 1 where fn holds" in out
    assert out.endswith("Further operands have defaults: pimc isa MNEMONIC shows them, and the bits.\n")


@pytest.mark.parametrize("command", ["compile", "run", "isa"])
def test_help_of_commands_does_not_repeat_the_global_options(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert cli.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "--mem-limit SIZE" not in out
    assert "global options (" not in out
    assert "'pimc --help' lists the global options: -q -v --json --color --seed --mem-limit --time-limit" in out


def test_global_options_work_behind_a_command_and_are_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["machines", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    assert cli.main(["machines", "--mem-limt=2G"]) == 2
    assert capsys.readouterr().err.endswith("help: did you mean '--mem-limit'?\n")


def test_verification_in_machine_numerics_says_what_its_errors_are(capsys: pytest.CaptureFixture[str]) -> None:
    last = "machine numerics round as the hardware does; --numerics fp32 tests the program without that"
    assert cli.main(["verify", str(LLAMA), "--max-context", "48", "--numerics", "machine"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == last
    assert cli.main(["verify", str(LLAMA), "--max-context", "48"]) == 0
    assert last not in capsys.readouterr().out


def test_text_up_to_the_end_of_the_context_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tokenizers")
    command = ["generate", str(SPEAKER), "--prompt", "ROMEO:", "-n", "20", "--max-context", "16"]
    assert cli.main(command) == 6
    captured = capsys.readouterr()
    assert captured.out.startswith("ROMEO:")
    assert "decode       10 " in captured.out
    assert captured.err.startswith("error: the context is too long for the program\n")
    assert cli.main([*command, "--json"]) == 6
    facts = json.loads(capsys.readouterr().out)
    assert (len(facts["tokens"]), facts["decode"]["tokens"]) == (11, 10)


def test_a_prompt_that_is_too_long_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tokenizers")
    assert cli.main(["generate", str(SPEAKER), "--prompt", "x" * 40, "--max-context", "16", "--json"]) == 6
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "40 new ones" in captured.err


def test_programs_and_runs_are_one_line_in_a_shell() -> None:
    program = pimc.compile(LLAMA, max_context=48)
    assert repr(program).startswith("<Program for gddr6-aim, numerics machine: ")
    assert f" {len(program.code)} instructions, entries decode, prefill, " in repr(program)
    run = pimc.simulate(program, {"input_ids": np.array([[1, 2, 3]])})
    assert repr(run).startswith("<Run: present.0.key float32[1, 2, 3, 8], ")
    assert f" and 1 more; {run.stats['cycles']} cycles, " in repr(run)
    assert max(len(repr(program)), len(repr(run))) < 240


def test_a_machine_of_ones_own_needs_no_second_mention(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine, program = tmp_path / "half.yaml", tmp_path / "t.pim"
    machine.write_text("name: half\nextends: gddr6-aim\nnear_bank:\n  channels: 16\n")
    assert cli.main(["compile", str(LLAMA), "-m", str(machine), "--max-context", "48", "-o", str(program), "-q"]) == 0
    machine.unlink()
    assert cli.main(["run", str(program), "-q"]) == 0
    assert cli.main(["check", str(program)]) == 0
    assert cli.main(["inspect", str(program)]) == 0
    assert "half, numerics machine" in capsys.readouterr().out


def test_a_pipe_gets_the_same_width_whatever_the_terminal() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run(
        [sys.executable, "-m", "pimc", "machines"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert max(map(len, done.stdout.splitlines())) <= COLUMNS


def test_a_pass_that_did_not_run_is_not_explained(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = tmp_path / "p.pim"
    assert cli.main(["compile", str(LLAMA), "-o", str(output), "--explain", "decompose_attention"]) == 1
    error = capsys.readouterr().err
    assert "pass 'decompose_attention' did not run" in error
    assert "fuse_attention" in error
    assert not output.exists()


def test_compile_explains_a_pass(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = str(tmp_path / "p.pim")
    assert cli.main(["compile", str(LLAMA), "-o", output, "--explain", "fuse_attention"]) == 0
    out = capsys.readouterr().out
    assert "\nfuse_attention: " in out
    assert "  causal, key mask      2\n" in out
    assert "fuse_norm:" not in out


def test_compile_explains_all_passes_in_their_order(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ["-m", "e2e-pim", "--dim", "batch=1", "-o", str(tmp_path / "p.pim"), "--explain", "all"]
    assert cli.main(["compile", str(LLAMA), *options]) == 0
    out = capsys.readouterr().out
    starts = [out.index(f"\n{name}:") for name in ("fuse_norm", "fuse_attention", "choose_units", "place_weights")]
    assert starts == sorted(starts)
    assert out.count("\nchoose_units:\n\nbanks: ") == 1


def test_an_explanation_needs_a_pass_and_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compile", str(LLAMA), "--explain", "fuse_atention"]) == 1
    assert "help: did you mean 'fuse_attention'?" in capsys.readouterr().err
    assert cli.main(["compile", str(LLAMA), "--emit", "asm", "--explain", "fuse_attention"]) == 1
    assert "help: give -o FILE for the text" in capsys.readouterr().err


def test_help_is_broken_between_words_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["compile", str(LLAMA), "--emit", "asm", "--explain", "nothing_like_this_at_all"]
    monkeypatch.setenv("COLUMNS", "24")
    assert cli.main(command) == 1
    assert "\nhelp: 'pimc passes' lists them\n" in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert cli.main(command) == 1
    assert capsys.readouterr().err.endswith("\nhelp: 'pimc passes'\n      lists them\n")
