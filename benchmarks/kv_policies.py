"""The table of docs/kv-cache.md: every policy of the KV cache on SmolLM2-135M over the Jargon File, by `pimc eval`.

`python -m benchmarks.kv_policies [--limit 4] [--only none,kivi:bits=4] [--write docs/kv-cache.md]`. A policy takes
about a minute and a half of processor time a window of 512 tokens. What is done is kept in
models/build/kv-policies-*.json, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import io
from contextlib import redirect_stdout
from pathlib import Path

from benchmarks.command_line import end_with
from pimc.cli import main as pimc_command

POLICIES = (
    "int:bits=8",
    "int:bits=4",
    "kivi:bits=4",
    "kivi:bits=2",
    "kivi:bits=2,value_bits=8",
    "kivi:bits=8,value_bits=2",
    "cpq",
    "cpq:bits_k=8,bits_v=8",
    "cpq:tau_k=0.3,tau_v=0.02",
    "window:sink=4,budget=256",
    "h2o:budget=256",
    "tova:budget=256",
    "snapkv:budget=256",
    "pyramidkv:budget=256",
    "window:sink=4,budget=256 + kivi:bits=4",
    "topk:k=64",
    "quest:pages=16",
    "cam:k=64",
)
"""What is compared with the plain cache; keys and values of `kivi:bits=2` also alone in two bits."""

_MODEL = Path("models/build/smollm2/model.onnx")
_TEXT = Path("models/jargon-file.txt")
_BEGIN, _END = "<!-- table: python -m benchmarks.kv_policies -->", "<!-- end of table -->"


def main() -> int:
    """Run the command, print its tables, and put them into a document when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=_MODEL, help=f"ONNX file (default {_MODEL})")
    parser.add_argument("--text", type=Path, default=_TEXT, help=f"text (default {_TEXT})")
    parser.add_argument("--window", type=int, default=512, help="tokens of a window (default 512)")
    parser.add_argument("--limit", type=int, default=4, help="windows (default 4: 2,044 scored tokens)")
    parser.add_argument("--contexts", default="128,512,2048", help="context lengths (default 128,512,2048)")
    parser.add_argument("--only", nargs="+", default=POLICIES, metavar="POLICIES", help="policies instead of all")
    parser.add_argument("--plot", type=Path, help="draw the picture, too")
    parser.add_argument("--write", type=Path, help="replace the table of this document")
    options = parser.parse_args()
    command = _command(options)
    shown = " ".join(f'"{word}"' if " " in word else word for word in command)
    printed = io.StringIO()
    with redirect_stdout(printed):
        code = pimc_command([*command, *_resume(options)])
    print(printed.getvalue())
    if code == 0 and options.write:
        _replace(options.write, f"```console\n$ pimc {shown}\n{printed.getvalue()}```")
    return code


def _command(options: argparse.Namespace) -> list[str]:
    words = ["eval", str(options.model), "--text", str(options.text), "--window", str(options.window)]
    words += ["--limit", str(options.limit), "--contexts", options.contexts]
    words += ["--plot", str(options.plot)] if options.plot else []
    return [*words, "--kv", *options.only]


def _resume(options: argparse.Namespace) -> list[str]:
    folder = Path("models/build")
    folder.mkdir(parents=True, exist_ok=True)
    contexts = options.contexts.replace(",", "-")
    return ["--resume", str(folder / f"kv-policies-{options.model.parent.name}-{options.window}-{contexts}.json")]


def _replace(document: Path, table: str) -> None:
    text = document.read_text(encoding="utf-8")
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    document.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    end_with(main)
