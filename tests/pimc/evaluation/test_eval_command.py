"""`pimc eval` on the bundled character model: figures, files, resumption, refusals."""

from __future__ import annotations

import csv
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pimc import cli
from pimc.evaluation import window_run

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "models" / "tiny-shakespeare.onnx"
TEXT = ROOT / "models" / "shakespeare-held-out.txt"
SHORT = ["--text", str(TEXT), "--window", "24", "--limit", "2"]


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert cli.main(["eval", str(MODEL), *SHORT, "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(("numerics", "tolerance"), [("fp32", 1e-5), ("machine", 5e-3)])
def test_perplexity_is_that_of_onnx_runtime(
    capsys: pytest.CaptureFixture[str], numerics: str, tolerance: float
) -> None:
    found = evaluate(capsys, "--numerics", numerics, "--reference", "--stride", "10")
    (plain,) = found["policies"]
    assert plain["policy"] == "none"
    assert plain["perplexity"] == pytest.approx(found["reference_perplexity"], rel=tolerance)
    assert found["text"]["scored_tokens"] == 23 + 10


def test_policies_are_compared_with_the_plain_cache(capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluate(
        capsys, "--kv", "window:sink=2,budget=12", "none", "--kv", "tova:budget=12", "--contexts", "8,24,40"
    )
    assert [each["policy"] for each in found["policies"]] == ["none", "window:sink=2,budget=12", "tova:budget=12"]
    plain, window, tova = found["policies"]
    assert (plain["perplexity_change"], plain["kv_ratio"], plain["kv_bytes_per_token"]) == (0, 1, 1536)
    for each in (window, tova):
        assert (each["kv_ratio"], each["kv_bytes_per_token"], each["kv_tokens_kept"]) == (2, 768, 12)
        assert each["perplexity"] != plain["perplexity"]
        assert each["perplexity_change"] == pytest.approx(each["perplexity"] / plain["perplexity"] - 1)
        assert [(at["context"], at["timing_only"]) for at in each["contexts"]] == [(8, False), (24, False), (40, True)]
        for at, without in zip(each["contexts"], plain["contexts"], strict=True):
            assert at["speedup"] == pytest.approx(at["tokens_per_s"] / without["tokens_per_s"])
            assert at["energy_j_per_token"] > 0
            assert 0 < at["kv_bytes_moved_per_token"] <= without["kv_bytes_moved_per_token"]


def test_timing_without_data_is_that_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """At a context that a long window reaches and a short one does not."""
    policy = ("--kv", "window:sink=2,budget=12", "--max-context", "64")
    measured = evaluate(capsys, *policy, "--window", "32", "--contexts", "32")
    timed = evaluate(capsys, *policy, "--contexts", "32")
    for real, estimate in zip(measured["policies"], timed["policies"], strict=True):
        ((at,), (guess,)) = real["contexts"], estimate["contexts"]
        assert (at["timing_only"], guess["timing_only"]) == (False, True)
        assert guess["tokens_per_s"] == pytest.approx(at["tokens_per_s"], rel=5e-3)
        assert guess["energy_j_per_token"] == pytest.approx(at["energy_j_per_token"], rel=5e-3)
        assert guess["kv_bytes_moved_per_token"] == at["kv_bytes_moved_per_token"]


def test_tables_fit_a_hundred_columns(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*SHORT, "--kv", "window:sink=2,budget=12", "--contexts", "24,40", "--reference"]
    assert cli.main(["eval", str(MODEL), *arguments]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    heading = " ".join(text.split())
    assert "2 windows of 24 tokens, 46 tokens scored (all but the first of each window)" in heading
    assert any(line.startswith("ONNX Runtime, binary32") for line in lines)
    assert any(line.lstrip().startswith("40*  window:sink=2,budget=12") for line in lines)
    assert "* without data: the policy's declared densities stand for what it would keep" in lines
    assert any(line.startswith("busy at 24 tokens") for line in lines)


def test_policies_of_a_file_are_called_as_the_file_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    paths = [tmp_path / folder / "long.kv" for folder in ("a", "b")]
    for path, budget in zip(paths, (12, 14), strict=True):
        path.parent.mkdir()
        path.write_text(f"# three clauses\nwindow:sink=2,budget={budget} ;\nnone @ 0 ;\nkivi @ 1")
    text = "window:sink=2,budget=12 ; none @ 0 ; kivi @ 1"
    notes, one = ["--resume", str(tmp_path / "notes.json")], ["--limit", "1", "--kv", f"@{paths[0]}"]
    found = evaluate(capsys, *one, *notes)
    assert [(each["policy"], each["label"]) for each in found["policies"]] == [("none", "none"), (text, "@long.kv")]
    assert cli.main(["eval", str(MODEL), *SHORT, *one, *notes]) == 0
    printed = capsys.readouterr().out
    assert "@long.kv " in printed
    assert "kivi" not in printed
    found = evaluate(capsys, "--limit", "1", "--kv", f"@{paths[0]}", f"@{paths[1]}")
    assert [each["label"] for each in found["policies"]] == ["none", text, text.replace("12", "14")]


class _Cells(HTMLParser):
    """Texts of the cells of all tables."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self._is_cell = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._is_cell = tag == "td"

    def handle_data(self, data: str) -> None:
        if self._is_cell:
            self.cells.append(data)


def test_files_hold_the_same_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table, page = tmp_path / "t.csv", tmp_path / "p.html"
    kv = "window:sink=2,budget=12"
    found = evaluate(capsys, "--kv", kv, "--csv", str(table), "--plot", str(page), "--contexts", "12,24")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["policy"], row["context"]) for row in rows] == [("none", "12"), ("none", "24"), (kv, "12"), (kv, "24")]
    assert float(rows[3]["perplexity"]) == found["policies"][1]["perplexity"]
    assert float(rows[3]["tokens_per_s"]) == found["policies"][1]["contexts"][1]["tokens_per_s"]
    reader = _Cells()
    reader.feed(page.read_text())
    assert reader.cells.count(kv) == 2
    assert f"{found['policies'][1]['perplexity']:.4f}" in reader.cells
    assert "http" not in page.read_text().replace("http://www.w3.org/2000/svg", "")


def test_an_interrupted_evaluation_goes_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = tmp_path / "run.json"
    arguments = ("--kv", "window:sink=2,budget=12", "--resume", str(notes), "--contexts", "24,40")
    steps = 0

    def interrupt(*_: object) -> float:
        nonlocal steps
        steps += 1
        if steps > 60:  # in the second policy
            raise KeyboardInterrupt
        return original(*_)  # type: ignore[arg-type]

    original = window_run.negative_log_likelihood
    monkeypatch.setattr(window_run, "negative_log_likelihood", interrupt)
    assert cli.main(["eval", str(MODEL), *SHORT, *arguments]) == 130
    assert f"what is done stands in {notes}: the same command goes on from there" in capsys.readouterr().err.replace(
        "\n", " "
    )
    done = json.loads(notes.read_text())["policies"]
    assert [len(each["windows"]) for each in done.values()] == [2]
    monkeypatch.setattr(window_run, "negative_log_likelihood", original)
    continued = evaluate(capsys, *arguments)
    assert continued == evaluate(capsys, *arguments[:2], *arguments[4:])
    monkeypatch.setattr(window_run, "negative_log_likelihood", interrupt)  # nothing is left to be run
    assert evaluate(capsys, *arguments) == continued


def test_a_resume_file_of_something_else_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    notes = tmp_path / "run.json"
    evaluate(capsys, "--resume", str(notes), "--limit", "1")
    other = tmp_path / "other.txt"
    other.write_text(TEXT.read_text()[100:400])
    assert cli.main(["eval", str(MODEL), *SHORT, "--resume", str(notes), "--text", str(other), "--window", "16"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{notes}: error: the file holds results of another evaluation"
    assert [line.split(":")[1].strip() for line in lines[1:-1]] == [
        "text",
        "window",
        "stride",
        "contexts",
        "max-context",
    ]
    assert lines[-1] == "help: name another file, or remove this one to begin anew"
    changed = json.loads(notes.read_text())
    changed["policies"]["none"]["program_sha256"] = "0" * 64
    notes.write_text(json.dumps(changed))
    assert cli.main(["eval", str(MODEL), *SHORT, "--resume", str(notes)]) == 1
    assert "the file holds results of another program for 'none'" in capsys.readouterr().err
    for contents in ("[]", "{}", "no", '{"format": "pimc eval", "version": 1, "policies": {"none": {"windows": [1]}}}'):
        notes.write_text(contents)
        assert cli.main(["eval", str(MODEL), *SHORT, "--resume", str(notes)]) == 1
        assert "not a file to resume an evaluation from" in capsys.readouterr().err


def test_a_longer_evaluation_takes_over_what_is_done(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    notes = str(tmp_path / "run.json")
    evaluate(capsys, "--resume", notes, "--limit", "1")
    longer = evaluate(capsys, "--resume", notes)
    assert longer == evaluate(capsys)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = cli.main(["eval", *arguments])
    assert code in (1, 4, 5, 6)
    return f"{code} {capsys.readouterr().err}"


def test_bad_input_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text, plain = str(TEXT), str(MODEL)
    short = _file(tmp_path, b"to be or no")
    assert f"1 {short}: error: the text has 11 tokens, fewer than a window of 512" in refused(
        capsys, plain, "--text", short
    )
    assert "the file is not text in UTF-8" in refused(capsys, plain, "--text", _file(tmp_path, b"\xff\xfe"))
    assert "cannot read the file" in refused(capsys, plain, "--text", str(tmp_path / "none.txt"))
    assert "a window of 64 tokens does not fit --max-context 32" in refused(
        capsys, plain, "--text", text, "--window", "64", "--max-context", "32"
    )
    assert "a context of 600 tokens does not fit --max-context 500" in refused(
        capsys, plain, "--text", text, "--contexts", "600", "--max-context", "500", "--window", "64"
    )
    assert "512" in refused(capsys, plain, "--text", text, "--window", "1000")  # positions of the model
    shutil.copy(MODEL, tmp_path / "m.onnx")
    missing = refused(capsys, str(tmp_path / "none.onnx"), "--text", text)
    assert "none.onnx: error: cannot read the model: there is no such file" in missing
    assert "there is no tokenizer beside the model" in refused(capsys, str(tmp_path / "m.onnx"), "--text", text)
    assert "a picture of this kind cannot be drawn" in refused(capsys, plain, "--text", text, "--plot", "p.gif")


def test_models_without_a_cache_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    corpus = ROOT / "models" / "corpus"
    shutil.copy(MODEL.parent / "tokenizer.json", tmp_path)
    shutil.copy(corpus / "bert-dynamo.onnx", tmp_path / "m.onnx")
    assert refused(capsys, str(tmp_path / "m.onnx"), "--text", str(TEXT), "--window", "16").startswith(
        "4 error: the model has no KV cache\nhelp: export it with past keys and values"
    )
    shutil.copy(corpus / "gpt2-dynamo.onnx", tmp_path / "m.onnx")
    assert "1 error: the tokenizer gives the token" in refused(
        capsys, str(tmp_path / "m.onnx"), "--text", str(TEXT), "--window", "16"
    )


def test_all_refused_policies_are_named_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'window'" in refused(capsys, str(MODEL), *SHORT, "--kv", "widow:budget=12")
    misspelt = refused(capsys, str(MODEL), *SHORT, "--kv", "widow:budget=12", "tova:budget=12", "h2o:bugdet=8")
    assert "did you mean 'window'" in misspelt
    assert "did you mean 'budget'" in misspelt
    message = refused(
        capsys,
        str(MODEL),
        *SHORT,
        "--kv",
        "none @ 0 ; tova:budget=12 @ 9",
        "window:sink=2,budget=12",
        "tova:budget=4 @ 8",
    )
    assert message.count("note: policy: ") == 2


def test_png_needs_a_package(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    assert refused(capsys, str(MODEL), *SHORT, "--plot", "p.png") == (
        '5 error: PNG needs the package resvg-py\nhelp: pip install "pimc[plot]", or give a name that ends in'
        " .svg or .html\n"
    )


def _file(folder: Path, contents: bytes) -> str:
    path = folder / "text.txt"
    path.write_bytes(contents)
    return str(path)
