"""Reads float32 tensors from a safetensors file as views on a memory map."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt


def read_safetensors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Returns the float32 tensors of `path` by name; tensors of other types are left out.

    The layout is that of the format's specification: eight bytes with the header's length, a JSON header with type,
    shape and byte range of each tensor, then the data.
    """
    data = np.memmap(path, mode="r", dtype=np.uint8)
    header_bytes = int(data[:8].view("<u8")[0])
    header = json.loads(data[8 : 8 + header_bytes].tobytes())
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        begin, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[begin:end], dtype="<f4").reshape(entry["shape"])
    return tensors
