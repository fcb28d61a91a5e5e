"""A built model: its graph, and its weights beside it until the model is stored or serialised.

Weights stay out of the protobuf (which may not exceed 2 GB) when there are many: then each weight above 1 MB goes to
`<name>.onnx.data`. Weights without values take a stretch of that file that is never written, so that the graph of a
model of any size costs neither disk nor memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import onnx

INLINE_MODEL_BYTES = 100_000_000
"""A model with at most this many bytes of weights is one file."""
INLINE_TENSOR_BYTES = 1_000_000
"""In a larger model, weights up to this size still stay inside the graph's file."""
ALIGNMENT_BYTES = 4096
"""Offsets of external tensors are multiples of this, so that each can be memory mapped."""


@dataclass(frozen=True)
class Weight:
    """One initialiser that holds a weight.

    Attributes:
        name: name of the initialiser.
        shape: its shape, as the graph uses it.
        values: float32 values, or None when only the shape matters.
    """

    name: str
    shape: tuple[int, ...]
    values: npt.NDArray[np.float32] | None

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor in float32."""
        return 4 * math.prod(self.shape)


@dataclass(frozen=True)
class BuiltModel:
    """A model without its weights, and the weights.

    Attributes:
        skeleton: the model; its initialisers are only the constants.
        weights: what is still to be added to the initialisers.
    """

    skeleton: onnx.ModelProto
    weights: list[Weight] = field(repr=False)

    def to_proto(self) -> onnx.ModelProto:
        """Returns the whole model as one message.

        Raises:
            ValueError: when a weight has no values; such a model can only be saved.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self.skeleton)
        for weight in self.weights:
            if weight.values is None:
                raise ValueError(f"weight {weight.name!r} has no values: save the model instead")
            model.graph.initializer.append(onnx.numpy_helper.from_array(weight.values, weight.name))
        return model

    def save(self, path: Path) -> None:
        """Writes `path` and, when there are many weights or absent ones, `<path>.data` beside it."""
        total = sum(weight.size_bytes for weight in self.weights)
        data_path = path.with_name(path.name + ".data")
        data_path.unlink(missing_ok=True)
        external = [weight for weight in self.weights if _is_external(weight, total)]
        kept = [weight for weight in self.weights if not _is_external(weight, total)]
        model = BuiltModel(self.skeleton, kept).to_proto()
        if external:
            with data_path.open("wb") as file:
                model.graph.initializer.extend([_append(weight, file, data_path.name) for weight in external])
        onnx.save(model, path)


def _is_external(weight: Weight, total_bytes: int) -> bool:
    if weight.values is None:
        return True
    return total_bytes > INLINE_MODEL_BYTES and weight.size_bytes > INLINE_TENSOR_BYTES


def _append(weight: Weight, file: BinaryIO, location: str) -> onnx.TensorProto:
    """Adds a weight to the data file, or a hole of its size, and returns the initialiser that points there."""
    offset = -(-file.tell() // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    file.seek(offset)
    if weight.values is None:
        file.truncate(offset + weight.size_bytes)
        file.seek(offset + weight.size_bytes)
    else:
        file.write(np.ascontiguousarray(weight.values, dtype="<f4").data)
    tensor = onnx.TensorProto(name=weight.name, dims=weight.shape, data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entries = {"location": location, "offset": offset, "length": weight.size_bytes}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor
