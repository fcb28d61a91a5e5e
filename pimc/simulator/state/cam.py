"""What the CAM holds: signs of keys, values, the tile that is searched, candidates, winners."""

from __future__ import annotations

from enum import IntEnum
from itertools import accumulate

import numpy as np

from isa import Cam

EMPTY = -1
"""Code of a candidate or winner that is none."""


class CamSpace(IntEnum):
    """Memories of the CAM, as spans of integers behind the words of the shared buffer: hazards are found alike."""

    QUERY = 0
    STAGE = 1  # written by every search: a query waits for the candidates of the one before
    ARRAY = 2
    KEYS = 3
    VALUES = 4
    BUFFER = 5  # both halves of the value buffer
    CANDIDATES = 6
    WINNERS = 7
    OUTPUTS = 8  # both halves of the output buffer


class CamState:
    """Memories of a CAM.

    Attributes:
        description: The component of the machine.
        starts: First integer of each `CamSpace` in footprints.
        sizes: Size of each.
        keys: bool [keys, columns].
        values: float32 [values, elements], rounded as they are stored.
        query: bool [columns].
        dims: Channels of the query.
        array: bool [rows, columns].
        filled: Rows of the array that hold a key.
        codes: int64 [candidates], `EMPTY` where there is none.
        indices: int64 [candidates], index of the key.
        rows: int64 [candidates], row in the half of the value buffer.
        buffer: float32 [2 halves, rows, elements].
        winner_codes: int64 [kept], `EMPTY` where there is none.
        winner_indices: int64 [kept].
        winner_rows: int64 [kept].
        exponentials: float32 [kept].
        total: Sum of the exponentials.
        weights: float32 [2 halves, kept], the output buffer.
        weight_rows: int64 [2 halves, kept], rows of the values that the weights are for; `EMPTY` for none.
    """

    def __init__(self, cam: Cam, first: int) -> None:
        """An empty CAM; `first` is the first integer that its footprints may use."""
        self.description = cam
        self.sizes = (1, 1, 1, cam.keys, cam.values, 2 * cam.value_rows, cam.candidates, 1, 2)
        self.starts = tuple(accumulate(self.sizes[:-1], initial=first))
        self.reset()

    def reset(self) -> None:
        """Empty all memories."""
        cam = self.description
        self.keys = np.zeros((cam.keys, cam.columns), bool)
        self.values = np.zeros((cam.values, cam.value_elements), np.float32)
        self.query = np.zeros(cam.columns, bool)
        self.dims = cam.columns
        self.array = np.zeros((cam.rows, cam.columns), bool)
        self.filled = 0
        self.codes, self.indices, self.rows = (np.full(cam.candidates, EMPTY, np.int64) for _ in range(3))
        self.buffer = np.zeros((2, cam.value_rows, cam.value_elements), np.float32)
        self.winner_codes, self.winner_indices, self.winner_rows = (
            np.full(cam.kept, EMPTY, np.int64) for _ in range(3)
        )
        self.exponentials = np.zeros(cam.kept, np.float32)
        self.total = np.float32(0)
        self.weights = np.zeros((2, cam.kept), np.float32)
        self.weight_rows = np.full((2, cam.kept), EMPTY, np.int64)
