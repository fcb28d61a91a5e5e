"""Rows of whole words in the banks, one for each token: where outputs and values are spilled to."""

from __future__ import annotations

from dataclasses import dataclass

from isa import NearBank
from pimc.backend.emitter import Words, indexed
from pimc.backend.lowering import Lowering

WORD_COLUMN_WORDS = 8
"""Words that a column of 16 lanes holds in the form `word`."""


def row_columns(near_bank: NearBank, words: int) -> int:
    """Columns of every channel that a row of `words` words takes."""
    return -(-words // (near_bank.channels * WORD_COLUMN_WORDS))


@dataclass(frozen=True)
class TokenRows:
    """Rows of whole words in the banks, one a token: token t in bank t mod banks, spread over all channels.

    Attributes:
        column: First linear column.
        columns: Columns of a token's row in every channel.
    """

    column: int
    columns: int

    def store(self, low: Lowering, source: Words) -> None:
        """Emit the store of the current token's row."""
        self._transfer(low, "stb", "src", source)

    def load(self, low: Lowering, target: Words) -> None:
        """Emit the load of the current token's row."""
        self._transfer(low, "ldb", "dst", target)

    def _transfer(self, low: Lowering, mnemonic: str, operand: str, words: Words) -> None:
        token = low.storage.offset_register("row", 1)
        bank = low.emitter.scalar("remu", token, low.near_bank.banks)
        row = low.emitter.scalar("divu", token, low.near_bank.banks)
        low.emitter.emit("mul", row, row, self.columns)
        low.emitter.emit(
            mnemonic,
            ch=low.near_bank.all_channels,
            bank=indexed(0, bank),
            addr=indexed(self.column, row),
            cols=self.columns,
            si=self.columns * WORD_COLUMN_WORDS,
            sn=WORD_COLUMN_WORDS,
            form="word",
            **{operand: words.operand},
        )
        low.emitter.release(bank, row)
