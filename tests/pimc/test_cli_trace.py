"""`pimc trace` as a user calls it."""

import json
from collections import Counter
from pathlib import Path

import pytest

from isa import load_machine
from pimc.cli import main
from pimc.simulator import trace_timeline

GOLDEN = Path(__file__).parents[1] / "golden" / "aim"
TRACE = str(GOLDEN / "gemv_M1024_K1024_ch1_group_outer.trace")


def test_json_keeps_its_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", TRACE, "--format", "aim-isr", "--compat", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["cycles"] > 0
    assert printed["commands"]["MAC16"] > 0
    assert printed["energy_j"] == pytest.approx(sum(printed["energy_by_unit_j"].values()), rel=1e-12)
    assert (printed["accounting"], printed["controller"]) == ("paper", "aim_reference")


def test_faithful_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", TRACE, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["commands"]["REFab"] > 0
    assert printed["energy_by_unit_j"]["dram_refresh"] > 0
    assert (printed["accounting"], printed["controller"]) == ("faithful", "in_order")


def test_faithful_accounting_charges_standby_of_compatibility_runs_too(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for accounting in ("paper", "faithful"):
        assert main(["trace", TRACE, "--compat", "--accounting", accounting, "--json"]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    paper, faithful = printed
    standby = [name for name in faithful["energy_by_unit_j"] if name.startswith("dram_standby")]
    assert sum(faithful["energy_by_unit_j"][name] for name in standby) == pytest.approx(faithful["standby_j"])
    assert faithful["standby_j"] == pytest.approx(32 * paper["standby_j"])
    assert not set(standby) & set(paper["energy_by_unit_j"])


def test_log_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", TRACE, "--log", str(tmp_path / "c.csv"), "-q"]) == 0
    lines = (tmp_path / "c.csv").read_text().splitlines()
    assert lines[0] == "cycle,channel,command,bank_group,bank,row,column,node"
    assert "MAC16" in capsys.readouterr().out


@pytest.mark.parametrize("mode", [[], ["--compat"]])
def test_log_and_perfetto_trace_hold_the_same_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: list[str]
) -> None:
    log, perfetto = tmp_path / "c.csv", tmp_path / "t.perfetto"
    assert main(["--json", "trace", TRACE, *mode, "--log", str(log), "--trace", str(perfetto)]) == 0
    counts = json.loads(capsys.readouterr().out)["commands"]
    logged = Counter(line.split(",")[2] for line in log.read_text().splitlines()[1:])
    assert logged == Counter({name: count for name, count in counts.items() if count})
    timeline, _ = trace_timeline(TRACE, load_machine("gddr6-aim"), bool(mode))
    drawn: Counter[str] = Counter()
    for name, commands in zip(timeline.slices.name, timeline.slices.commands, strict=True):
        drawn[timeline.names[name]] += int(commands)
    assert drawn == logged
    assert b"gddr6-aim, 1 ns stands for a cycle of 0.5 ns" in perfetto.read_bytes()


def test_empty_trace_has_a_perfetto_trace(tmp_path: Path) -> None:
    perfetto = tmp_path / "t.perfetto"
    assert main(["trace", str(GOLDEN / "eoc_only.trace"), "-q", "--trace", str(perfetto)]) == 0
    assert b"channel 31" in perfetto.read_bytes()


def test_a_trace_that_cannot_be_written_is_refused_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", TRACE, "--trace", "/nowhere/t.perfetto"]) == 1
    assert "/nowhere" in capsys.readouterr().err


def test_bad_line_has_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.trace"
    path.write_text("AiM MAC_ABK 1 0x1 0\nAiM MAC_ABK 1 0x0 0\nAiM EOC\n")
    assert main(["trace", str(path)]) == 1
    assert capsys.readouterr().err.startswith(f"{path}:2: error: the channel mask names no channel")
