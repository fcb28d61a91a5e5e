"""The frame of the command line: usage, suggestions, global options, exit codes."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pimc import __main__, __version__, cli
from pimc.commands.command import Command

ROOT = Path(__file__).parent.parent.parent
COMMANDS = (
    "compile", "run", "verify", "generate", "asm", "disasm", "check", "inspect", "machines", "passes", "isa"
)  # fmt: skip
HEAVY = ("numpy", "onnx", "numba", "networkx", "lark", "rich", "pydantic", "yaml", "onnxruntime", "isa", "passes")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def with_command(monkeypatch: pytest.MonkeyPatch, body) -> None:
    """Put a command called `probe` in the place of all others."""
    command = Command("probe", "for tests", "For tests.", (), lambda parser: None, body)
    monkeypatch.setattr("pimc.parser.COMMANDS", (command,))


def test_help_lists_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for word in (*COMMANDS, "70", "130"):
        assert f" {word} " in out.replace("\n", " \n ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"pimc {command}" in out.split("examples:")[1]


def test_help_imports_nothing_heavy() -> None:
    source = f"import sys; from pimc.cli import main; main(['--help']); print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_is_quick() -> None:
    def seconds() -> float:
        """Processor time, which other processes do not lengthen as they do the time that passes."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "pimc", "--help"], cwd=ROOT, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.15


def test_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--version")
    assert (code, out) == (0, f"pimc {__version__}\n")
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_no_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys)[0] == 2


def test_a_misspelt_command_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "complie", "m.onnx")
    assert (code, out) == (2, "")
    assert err == "pimc: error: unknown command: 'complie'\nhelp: did you mean 'compile'?\n"


def test_a_misspelt_option_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "compile", "m.onnx", "--max-contxt=8")
    assert code == 2
    assert err == "pimc compile: error: unrecognized arguments: --max-contxt=8\nhelp: did you mean '--max-context'?\n"


def test_a_wrong_choice_names_the_allowed_ones(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "compile", "m.onnx", "--emit", "text")
    assert code == 2
    assert "graph" in err
    assert "asm" in err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--mem-limit", "much", "'much' is not a size such as 500M or 2G"),
        ("--time-limit", "0", "'0' is not a time such as 90s or 5m"),
        ("--time-limit", "soon", "'soon' is not a time such as 90s or 5m"),
    ],
)
def test_bad_limits_are_wrong_usage(capsys: pytest.CaptureFixture[str], option: str, value: str, message: str) -> None:
    code, _, err = run(capsys, option, value, "isa")
    assert code == 2
    assert message in err


def test_a_bad_dimension_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "compile", "m.onnx", "--dim", "batch")
    assert code == 2
    assert "'batch' is not NAME=N, for example batch=1" in err


def test_global_options_stand_before_and_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = run(capsys, "--json", "isa"), run(capsys, "isa", "--json")
    assert before == after
    assert json.loads(before[1])[0]["mnemonic"] == "halt"


def test_limits_read_units(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Namespace] = []
    with_command(monkeypatch, lambda options: seen.append(options) or 0)
    monkeypatch.setattr("pimc.limits.limit_memory", lambda size: None)
    assert cli.main(["probe", "--mem-limit", "2.5G", "--time-limit", "5m", "--seed", "7"]) == 0
    assert (seen[0].mem_limit, seen[0].time_limit, seen[0].seed) == (2_684_354_560, 300.0, 7)


def test_an_internal_error_ends_with_70_and_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_command(monkeypatch, lambda options: [][1])
    code, out, err = run(capsys, "probe")
    assert (code, out) == (70, "")
    assert err == (
        "pimc: internal error: IndexError: list index out of range\n"
        "help: this is a defect of pimc; please report it with the traceback that -v prints\n"
    )
    assert "Traceback" in run(capsys, "-v", "probe")[2]


def test_an_interruption_ends_with_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(options: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    with_command(monkeypatch, interrupted)
    assert run(capsys, "probe") == (130, "", "interrupted\n")


def test_an_interruption_while_modules_load_ends_with_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    assert __main__.run() == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_the_time_limit_ends_with_6(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def swallows_errors(options: argparse.Namespace) -> int:
        with contextlib.suppress(Exception):
            time.sleep(5)
        return 0

    with_command(monkeypatch, swallows_errors)
    start = time.perf_counter()
    code, _, err = run(capsys, "probe", "--time-limit", "0.2")
    assert time.perf_counter() - start < 4
    assert (code, err) == (6, "error: not finished after 0.2 s\nhelp: give more with --time-limit\n")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit data")
def test_the_memory_limit_ends_with_6() -> None:
    source = (
        "import sys; from pimc import cli, parser; from pimc.commands.command import Command\n"
        "body = lambda options: len(bytearray(2 << 30))\n"
        "parser.COMMANDS = (Command('probe', '', '', (), lambda parser: None, body),)\n"
        "sys.exit(cli.main(['probe', '--mem-limit', '1G']))"
    )
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 6
    assert done.stderr == "error: the limit of 1073741824 bytes is not enough\nhelp: give more with --mem-limit\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m pimc isa --json | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[\n0\n"
    assert done.stderr == ""


def test_control_characters_of_names_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "check", "\x1b[2Jmissing.pim")
    assert code == 1
    assert err == "\\x1b[2Jmissing.pim: error: cannot read the file: No such file or directory\n"


def test_colours_follow_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b[" in run(capsys, "isa", "--color", "always")[1]
    assert "\x1b[" not in run(capsys, "isa")[1]


def test_machines_lists_the_default_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "machines")
    assert code == 0
    what, numbers = (line.split()[1:] for line in out.splitlines() if line.startswith("gddr6-aim "))
    assert what[:2] == ["GDDR6-AiM", "device"]
    assert numbers == ["I", "B", "K", "2.00", "GHz", "16.0", "GiB", "16.4", "TFLOP/s"]


def test_machines_shows_numbers_with_sources_and_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "machines", "gddr6-aim")[1]
    assert "near_bank.timing.nRCDRDMAC" in out
    assert "GDDR6_AiM_timing" in out
    assert json.loads(run(capsys, "machines", "gddr6-aim", "--json")[1])["near_bank"]["channels"] == 32
    assert "near_bank" in json.loads(run(capsys, "machines", "--schema")[1])["properties"]


def test_an_unknown_machine_is_refused_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "machines", "gddr6-aix")
    assert (code, out) == (1, "")
    assert "help: did you mean 'gddr6-aim'?" in err


def test_isa_shows_the_bits_of_an_instruction(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "isa", "mac")[1]
    assert "opcode 0x42, extension B, unit channel" in out
    assert "written mac ch=" in out
    assert run(capsys, "isa", "mac", "--manual")[1].startswith("### `mac`")
    assert "### `halt`" in run(capsys, "isa", "--manual")[1]
    code, _, err = run(capsys, "isa", "macc")
    assert (code, err) == (1, "error: unknown instruction 'macc'\nhelp: did you mean 'mac'?\n")


def test_python_m_pimc_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "pimc", "isa", "nop"], cwd=ROOT, capture_output=True, env=os.environ)
    assert done.returncode == 1
