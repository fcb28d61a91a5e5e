"""Text in, text out, on a small model with a tokenizer of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import pimc
from isa import InputError, ResourceLimitError, UnsupportedError, load_machine
from pimc import cli
from pimc.chat_template import first_turn
from pimc.generation import Decoder, generate, likeliest, sampler
from pimc.reference import Reference
from pimc.simulator import Session

ROOT = Path(__file__).parent.parent.parent
CORPUS = ROOT / "models" / "corpus"
LETTERS = "abcdefghijklmnopqrstuvwxyz .,;!?"
CHATML = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random GPT-2 over 32 characters, with its tokenizer beside it."""
    folder = tmp_path_factory.mktemp("model")
    shutil.copy(CORPUS / "gpt2-dynamo.onnx", folder / "m.onnx")
    tokenizer = Tokenizer(models.WordLevel({letter: n for n, letter in enumerate(LETTERS)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "m.onnx"


def decoder_of(model: Path, max_context: int = 48) -> Decoder:
    machine = load_machine("gddr6-aim")
    program = pimc.compile(model, machine, max_context=max_context, numerics="fp32")
    return Decoder(program, Session(program, machine))


def test_greedy_tokens_are_those_of_onnx_runtime(model: Path) -> None:
    decoder = decoder_of(model)
    found = list(generate(decoder, [3, 1, 4], 12, likeliest))
    reference = Reference(model)
    past = {name: np.zeros((1, 4, 0, 8), np.float32) for name in reference.inputs if name.startswith("past")}
    tokens = [3, 1, 4]
    for _ in range(12):
        positions = np.arange(len(tokens))[None]
        inputs = {"input_ids": np.array([tokens]), "attention_mask": np.ones_like(positions), "position_ids": positions}
        tokens.append(int(reference.run({**past, **inputs})["logits"][0, -1].argmax()))
    assert found == tokens[3:]


def test_work_is_counted_by_phase(model: Path) -> None:
    decoder = decoder_of(model)
    list(generate(decoder, [3, 1, 4], 5, likeliest))
    assert decoder.prefill is not None
    assert decoder.decode is not None
    assert (decoder.prefill.tokens, decoder.decode.tokens) == (3, 4)


def test_an_end_token_ends_the_text(model: Path) -> None:
    whole = list(generate(decoder_of(model), [3, 1, 4], 12, likeliest))
    end = whole[-1]
    assert list(generate(decoder_of(model), [3, 1, 4], 12, likeliest, {end})) == whole[: whole.index(end)]


def test_a_full_context_is_an_error(model: Path) -> None:
    decoder = decoder_of(model, max_context=5)
    with pytest.raises(ResourceLimitError, match="the context is too long for the program"):
        list(generate(decoder, [3, 1, 4], 12, likeliest))


def test_a_model_without_cache_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="the model has no KV cache"):
        decoder_of(CORPUS / "bert-dynamo.onnx")


def test_sampling_follows_the_seed_and_the_temperature() -> None:
    logits = np.array([0.0, 1.0, 2.0, 0.5], np.float32)
    draws = [sampler(1.0, seed)(logits) for seed in range(200)]
    assert set(draws) == {0, 1, 2, 3}
    assert draws == [sampler(1.0, seed)(logits) for seed in range(200)]
    assert {sampler(0.01, seed)(logits) for seed in range(50)} == {2}


def test_text_streams_and_speed_follows(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", str(model), "--prompt", "to be", "-n", "8"]) == 0
    first, _, rest = capsys.readouterr().out.partition("\n")
    assert first.startswith("to be")
    assert len(first) == 5 + 8
    assert "energy/token" in rest
    assert "prefill" in rest
    assert "decode" in rest


def test_json_tells_text_and_speed(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", str(model), "--prompt", "to be", "-n", "8", "--json", "--seed", "4", "--temperature", "1"]
    assert cli.main(arguments) == 0
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["tokens"]) == len(facts["text"]) == 8
    assert facts["decode"]["tokens"] == 7
    assert facts["decode"]["tokens_per_s"] == pytest.approx(7 / facts["decode"]["time_s"])
    assert cli.main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == facts["tokens"]


def test_a_chat_template_is_used_when_there_is_one(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["generate", str(model), "--prompt", "a", "--chat"]) == 1
    assert capsys.readouterr().err == "error: the model has no chat template\nhelp: leave --chat out\n"
    proto = onnx.load(model)
    onnx.helper.set_model_props(proto, {"chat_template": CHATML})
    onnx.save(proto, tmp_path / "m.onnx")
    shutil.copy(model.parent / "tokenizer.json", tmp_path)
    assert cli.main(["generate", str(tmp_path / "m.onnx"), "--prompt", "a", "-n", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prefill"]["tokens"] == len(first_turn(CHATML, "a"))
    assert cli.main(["generate", str(tmp_path / "m.onnx"), "--prompt", "a", "-n", "1", "--json", "--no-chat"]) == 0
    assert json.loads(capsys.readouterr().out)["prefill"]["tokens"] == 1


def test_chat_templates_open_with_their_own_system_message() -> None:
    template = "{{ '<|im_start|>system\\nBe kind<|im_end|>\\n' }}" + CHATML
    assert first_turn(template, "Hi") == (
        "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert first_turn(CHATML, "Hi") == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert first_turn(CHATML, "<|im_start|>own") == "<|im_start|>own"
    with pytest.raises(UnsupportedError, match="not of the ChatML form"):
        first_turn("[INST] {{ messages }} [/INST]", "Hi")


def test_without_a_tokenizer_prompt_and_text_are_numbers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = str(tmp_path / "m.onnx")
    shutil.copy(CORPUS / "gpt2-dynamo.onnx", path)
    assert cli.main(["generate", path, "--prompt", "5 7 2", "-n", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"tokens", "prefill", "decode"}
    assert found["prefill"]["tokens"] == 3
    assert cli.main(["generate", path, "--prompt", "5 7 2", "-n", "3"]) == 0
    assert capsys.readouterr().out.startswith(f"5 7 2 {' '.join(map(str, found['tokens']))}\n\nphase ")


def test_a_text_without_a_tokenizer_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shutil.copy(CORPUS / "gpt2-dynamo.onnx", tmp_path / "m.onnx")
    assert cli.main(["generate", str(tmp_path / "m.onnx"), "--prompt", "a"]) == 1
    assert capsys.readouterr().err == (
        "error: without a tokenizer.json beside the model the prompt is token numbers\n"
        'help: write it as --prompt "5 17 2", or put the model\'s tokenizer.json there\n'
    )
    assert cli.main(["generate", str(tmp_path / "m.onnx"), "--prompt", "5 32"]) == 1
    assert capsys.readouterr().err.startswith("error: the model has no token 32\nnote: its tokens are 0 to 31\n")
    assert cli.main(["generate", str(tmp_path / "m.onnx"), "--prompt", "5", "--chat"]) == 1
    assert "help: leave --chat out" in capsys.readouterr().err
    (tmp_path / "tokenizer.json").write_text("{}")
    assert cli.main(["generate", str(tmp_path / "m.onnx"), "--prompt", "a"]) == 1
    assert "tokenizer.json: error: not a tokenizer" in capsys.readouterr().err


def test_the_tokenizers_package_is_optional(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    assert cli.main(["generate", str(model), "--prompt", "a"]) == 5
    assert capsys.readouterr().err == 'error: text needs the package tokenizers\nhelp: pip install "pimc[text]"\n'


def test_an_empty_prompt_is_refused(model: Path) -> None:
    from pimc.text_model import load_text_model

    with pytest.raises(InputError, match="the prompt has no tokens"):
        load_text_model(model, {}).encode("", chat=False)
