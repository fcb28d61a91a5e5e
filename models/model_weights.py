"""Where the weights of a built model come from: seeded random numbers, given arrays, or nowhere."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class WeightSource(Protocol):
    """Anything that yields a weight by its name in the Hugging Face checkpoint of the family."""

    def read(self, name: str, shape: tuple[int, ...], mean: float, deviation: float) -> FloatArray | None:
        """Returns the tensor `name` in the checkpoint's layout, or None when only its shape matters.

        Args:
            name: checkpoint name, such as `model.layers.0.self_attn.q_proj.weight`.
            shape: the shape that the configuration implies; linear weights are `[out, in]`.
            mean: the mean that a random weight should have.
            deviation: the standard deviation that a random weight should have.
        """
        ...


@dataclass(frozen=True)
class RandomWeights:
    """Normal numbers that depend on the seed and on the tensor's name only, not on the order of reading.

    Attributes:
        seed: of the generator; equal seeds give equal models.
    """

    seed: int = 0

    def read(self, name: str, shape: tuple[int, ...], mean: float, deviation: float) -> FloatArray:
        """Draws the tensor `name`."""
        generator = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        noise = generator.standard_normal(shape, dtype=np.float32)
        return np.float32(mean) + np.float32(deviation) * noise


@dataclass(frozen=True)
class GivenWeights:
    """Arrays by checkpoint name.

    Attributes:
        tensors: the arrays; any floating type, turned into float32 when read.
    """

    tensors: Mapping[str, npt.NDArray[np.floating]]

    def read(self, name: str, shape: tuple[int, ...], mean: float, deviation: float) -> FloatArray:
        """Returns the given tensor.

        Raises:
            KeyError: when no tensor has that name.
            ValueError: when its shape is not the one that the configuration implies.
        """
        if name not in self.tensors:
            raise KeyError(f"no weight named {name!r}; the configuration asks for it with shape {list(shape)}")
        tensor = np.asarray(self.tensors[name], dtype=np.float32)
        if tensor.shape != shape:
            raise ValueError(f"weight {name!r} has shape {list(tensor.shape)}, the configuration asks {list(shape)}")
        return tensor


@dataclass(frozen=True)
class AbsentWeights:
    """No values: the model is stored over a sparse file of zeros, which takes no room on the disk."""

    def read(self, name: str, shape: tuple[int, ...], mean: float, deviation: float) -> None:
        """Returns None for every tensor."""
        return None
