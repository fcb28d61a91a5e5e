"""The commands on real models: compile, check, disassemble, assemble, run, inspect."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from isa import load_program
from pimc import cli
from pimc.arrays import read_arrays

ROOT = Path(__file__).parent.parent.parent
CORPUS = ROOT / "models" / "corpus"
LLAMA = CORPUS / "llama-dynamo.onnx"
STATS_KEYS = {
    "schema_version", "cycles", "time_s", "energy_j", "energy_by_unit_j", "bytes_by_space", "power_w", "area_mm2",
    "time_to_first_token_s", "time_per_token_s", "utilization_by_unit", "bound", "kv", "nodes", "provenance",
}  # fmt: skip


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "t.pim"
    assert cli.main(["compile", str(LLAMA), "-o", str(path), "--max-context", "48", "-q"]) == 0
    return path


def test_compile_says_what_it_made(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "compile", LLAMA, "-o", tmp_path / "t.pim", "--max-context", 48)
    assert code == 0
    assert "decode (kv_length, masked), prefill (kv_length, token_count, first_output, masked)" in out
    assert "up to 48 tokens" in out
    assert "2 attention" in " ".join(out.split())
    assert [path.name for path in tmp_path.iterdir()] == ["t.pim"]


def test_compile_names_the_program_after_the_model(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "--json", "compile", LLAMA)
    assert code == 0
    facts = json.loads(out)
    assert facts["output"] == "llama-dynamo.pim"
    assert facts["instructions"] == len(load_program("llama-dynamo.pim").code)


def test_the_same_model_gives_the_same_bytes_however_its_path_is_typed(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(LLAMA.parent.parent)
    typed = f"../{LLAMA.parent.parent.name}/{LLAMA.parent.name}/{LLAMA.name}"
    assert cli.main(["compile", typed, "-o", str(tmp_path / "t.pim"), "--max-context", "48", "-q"]) == 0
    assert (tmp_path / "t.pim").read_bytes() == program.read_bytes()
    assert load_program(program).metadata["model"] == LLAMA.name


def test_both_numerics_have_the_same_code(tmp_path: Path) -> None:
    codes = []
    for numerics in ("machine", "fp32"):
        path = tmp_path / f"{numerics}.pim"
        assert cli.main(["compile", str(LLAMA), "-o", str(path), "--max-context", "48", "--numerics", numerics]) == 0
        codes.append(load_program(path).code)
    assert codes[0] == codes[1]


def test_check_accepts_a_compiled_program(capsys: pytest.CaptureFixture[str], program: Path) -> None:
    code, out, _ = run(capsys, "check", program)
    assert code == 0
    assert out.startswith(f"{program}: ok: ")
    assert json.loads(run(capsys, "check", program, "--json")[1]) == {"ok": True, "findings": []}


def test_disassembled_text_assembles_to_the_same_bytes(
    capsys: pytest.CaptureFixture[str], program: Path, tmp_path: Path
) -> None:
    assert run(capsys, "disasm", program, "-o", tmp_path / "a.pimasm")[0] == 0
    assert run(capsys, "asm", tmp_path / "a.pimasm", "-o", tmp_path / "b.pim")[0] == 0
    assert (tmp_path / "b.pim").read_bytes() == program.read_bytes()


def test_text_in_another_folder_assembles_to_the_same_bytes(
    capsys: pytest.CaptureFixture[str], program: Path, tmp_path: Path
) -> None:
    (tmp_path / "text").mkdir()
    text = tmp_path / "text" / "a.pimasm"
    assert run(capsys, "disasm", program, "-o", text)[0] == 0
    assert run(capsys, "asm", text, "-o", tmp_path / "b.pim")[0] == 0
    assert (tmp_path / "b.pim").read_bytes() == program.read_bytes()
    (tmp_path / "c.pimasm").write_text(text.read_text().replace("a.pimasm.data", "text/../text/a.pimasm.data"))
    assert run(capsys, "asm", tmp_path / "c.pimasm", "-o", tmp_path / "c.pim")[0] == 1
    data = tmp_path / "text" / "a.pimasm.data"
    assert run(capsys, "asm", tmp_path / "c.pimasm", "--data", data, "-o", tmp_path / "c.pim")[0] == 0
    assert (tmp_path / "c.pim").read_bytes() == program.read_bytes()


def test_disasm_shows_one_entry(capsys: pytest.CaptureFixture[str], program: Path) -> None:
    out = run(capsys, "disasm", program, "--entry", "decode")[1]
    assert ".entry decode" in out
    assert out.rstrip().endswith("halt")
    assert "mac ch=all" in out
    assert ".symbols" not in out
    code, _, err = run(capsys, "disasm", program, "--entry", "train")
    assert (code, err) == (1, "error: no entry 'train'\nnote: entries: decode, prefill\n")


def test_emitted_text_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "compile", LLAMA, "--max-context", 48, "--emit", "graph")
    assert code == 0
    assert out.startswith("graph ")
    assert "cached_attention" in out
    assert ".entry decode" in run(capsys, "compile", LLAMA, "--max-context", 48, "--emit", "asm")[1]


def test_emitted_assembly_in_a_file_assembles(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = tmp_path / "a.pimasm"
    assert run(capsys, "compile", LLAMA, "--max-context", 48, "--emit", "asm", "-o", text)[0] == 0
    assert run(capsys, "asm", text, "-o", tmp_path / "a.pim")[0] == 0
    assert run(capsys, "check", tmp_path / "a.pim")[0] == 0


def test_passes_can_be_looked_at(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder, output = tmp_path / "dump", tmp_path / "t.pim"
    options = ("--print-after", "fuse_attention", "--dump-dir", folder, "--time-passes", "--max-context", 48)
    code, _, err = run(capsys, "compile", LLAMA, "-o", output, *options)
    assert code == 0
    assert err.startswith("// after fuse_attention\ngraph ")
    assert err.rstrip().splitlines()[-1].startswith("total ")
    names = sorted(path.name for path in folder.iterdir())
    assert any(name.endswith("-fuse_norm.graph") for name in names)
    code, _, err = run(capsys, "compile", LLAMA, "-o", output, "--print-after", "fuse_atention")
    assert (code, err) == (1, "error: there is no pass 'fuse_atention'\nhelp: did you mean 'fuse_attention'?\n")


def test_optional_passes_can_be_turned_off(capsys: pytest.CaptureFixture[str]) -> None:
    fused = run(capsys, "compile", LLAMA, "--emit", "graph", "--max-context", 48)[1]
    plain = run(capsys, "compile", LLAMA, "--emit", "graph", "--max-context", 48, "-O0")[1]
    assert "rms_norm" in fused
    assert "rms_norm" not in plain


def test_run_makes_seeded_inputs_and_says_so(capsys: pytest.CaptureFixture[str], program: Path, tmp_path: Path) -> None:
    stats, outputs = tmp_path / "s.json", tmp_path / "o.npz"
    code, out, err = run(capsys, "run", program, "--stats", stats, "-o", outputs, "--seed", 3)
    assert code == 0
    assert err == "no inputs given: 16 seeded tokens (seed 3), an empty cache\n"
    for word in ("cycles", "tokens/s", "energy per token", "row-cycled floor", "graph node"):
        assert word in out
    found = json.loads(stats.read_text())
    assert set(found) >= STATS_KEYS
    assert found["provenance"]["seed"] == 3
    assert read_arrays(outputs)["logits"].shape == (1, 16, 32)
    again = tmp_path / "again.npz"
    assert run(capsys, "run", program, "-o", again, "--seed", 3, "-q")[2] == ""
    np.testing.assert_array_equal(read_arrays(again)["logits"], read_arrays(outputs)["logits"])


def test_run_takes_inputs_and_goes_on_from_a_given_cache(
    capsys: pytest.CaptureFixture[str], program: Path, tmp_path: Path
) -> None:
    tokens = np.arange(5, dtype=np.int64)[None]
    np.savez(tmp_path / "all.npz", input_ids=tokens)
    np.savez(tmp_path / "head.npz", input_ids=tokens[:, :4])
    assert run(capsys, "run", program, "-i", tmp_path / "all.npz", "-o", tmp_path / "whole.npz")[0] == 0
    assert run(capsys, "run", program, "-i", tmp_path / "head.npz", "-o", tmp_path / "part.npz")[0] == 0
    present = {n.replace("present", "past_key_values"): a for n, a in read_arrays(tmp_path / "part.npz").items()}
    present.pop("logits")
    np.savez(tmp_path / "tail.npz", input_ids=tokens[:, 4:], **present)
    assert run(capsys, "run", program, "-i", tmp_path / "tail.npz", "-o", tmp_path / "last.npz")[0] == 0
    whole, last = read_arrays(tmp_path / "whole.npz")["logits"], read_arrays(tmp_path / "last.npz")["logits"]
    np.testing.assert_allclose(last[0, -1], whole[0, -1], atol=1e-6)


def test_run_without_data_takes_registers(capsys: pytest.CaptureFixture[str], program: Path, tmp_path: Path) -> None:
    long, cycles = tmp_path / "long.pim", []
    assert run(capsys, "compile", LLAMA, "-o", long, "--max-context", 2048)[0] == 0
    for length in (1, 2000):
        options = ("--timing-only", "--entry", "decode", "--set", f"kv_length={length}")
        code, out, _ = run(capsys, "run", long, "--json", *options)
        assert code == 0
        cycles.append(json.loads(out)["cycles"])
    assert cycles[0] < cycles[1]
    code, _, err = run(capsys, "run", program, "--timing-only", "--entry", "decode", "--set", "kv_length=48")
    assert code == 6
    assert "the register 'kv_length' is 48" in err


def test_programs_written_by_hand_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text, path = tmp_path / "sum.pimasm", tmp_path / "sum.pim"
    text.write_text(
        '.machine "gddr6-aim"\n.symbols\n  .register n, r0, low=1, high=100\n.text\n.entry sums, n\n'
        "  vfill 0, value=2.0, len=512\n  loop r1, 0+r0\n    vadd 0, 0, 0, len=512\n  end\n  halt\n"
    )
    assert run(capsys, "asm", text, "-o", path)[0] == 0
    cycles = [json.loads(run(capsys, "run", path, "--json", *n)[1])["cycles"] for n in ((), ("--set", "n=100"))]
    assert 0 < cycles[0] < cycles[1]
    code, _, err = run(capsys, "run", path, "--set", "m=1")
    assert code == 1
    assert "note: 'm' is unknown" in err


def test_timing_alone_takes_as_long_as_with_data(capsys: pytest.CaptureFixture[str], program: Path) -> None:
    with_data = json.loads(run(capsys, "run", program, "--json")[1])
    without = json.loads(run(capsys, "run", program, "--json", "--timing-only")[1])
    assert without["cycles"] == with_data["cycles"]
    assert without["provenance"]["timing_only"] is True


def test_inspect_shows_a_program(capsys: pytest.CaptureFixture[str], program: Path) -> None:
    out = run(capsys, "inspect", program)[1]
    for word in ("entry decode", "register kv_length", "past_key_values.0.key", "kv_cache", "weights"):
        assert word in out
    facts = json.loads(run(capsys, "inspect", program, "--json")[1])
    assert facts["metadata"]["max_context"] == 48


@pytest.mark.parametrize("name", ["gpt2-torchscript", "llama-dynamo", "bert-dynamo"])
def test_inspect_shows_a_model(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = run(capsys, "inspect", CORPUS / f"{name}.onnx")
    assert code == 0
    assert "input_ids" in out
    assert "fuse_attention" in out
    facts = json.loads(run(capsys, "inspect", CORPUS / f"{name}.onnx", "--json")[1])
    assert facts["weight_bytes"] > 0
    assert facts["kv_bytes_per_token"] > 0
    (attention,) = (entry for entry in facts["fused"] if entry["pattern"] == "attention")
    assert (attention["pass"], attention["count"]) == ("fuse_attention", 2)
    assert sum(attention["details"].values()) == 2


def test_inspect_shows_a_machine_of_the_user(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "half.yaml"
    path.write_text("name: half\nextends: gddr6-aim\nnear_bank:\n  channels: 16\n")
    code, out, _ = run(capsys, "inspect", path)
    assert code == 0
    assert "8.00 GiB" in out


def test_a_program_runs_on_the_users_machine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    machine, path = tmp_path / "half.yaml", tmp_path / "t.pim"
    machine.write_text("name: half\nextends: gddr6-aim\nnear_bank:\n  channels: 16\n")
    assert run(capsys, "compile", LLAMA, "-m", machine, "-o", path, "--max-context", 48)[0] == 0
    assert run(capsys, "check", path, "-m", machine)[0] == 0
    assert run(capsys, "run", path, "-m", machine)[0] == 0


def test_passes_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "passes")[1]
    assert "fuse_attention" in out
    assert "pipeline default" in out
    assert "Postcondition" in run(capsys, "passes", "fuse_norm")[1]
    facts = json.loads(run(capsys, "passes", "--json")[1])
    assert facts["pipelines"]["default"][0] == "constant_folding"


def test_results_do_not_depend_on_the_run(tmp_path: Path) -> None:
    paths = [tmp_path / "a.pim", tmp_path / "b.pim"]
    for path in paths:
        assert cli.main(["compile", str(LLAMA), "-o", str(path), "--max-context", "48", "-q"]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
