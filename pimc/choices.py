"""How near a model's choices by top-k, as of its experts, come to a tie: there the least rounding chooses otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pimc.reference import Reference

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]

NEAR_TIE = 2.0**-6
"""Scores that differ by no more than this part of the larger one may change places when operands are rounded to bf16,
which changes each by up to 2^-9, before the scores are computed from them."""

_MOST_BYTES = 2**30
"""Larger models are not rewritten to show their scores."""


class Choices:
    """The choices by top-k that a model makes on ONNX Runtime.

    Attributes:
        margins: For each choice so far, by how much the last chosen score leads the best one left out, relative to the
            larger magnitude of both.
    """

    def __init__(self, model: onnx.ModelProto, bind: Mapping[str, Any]) -> None:
        """A model with `TopK` nodes, and the values of its bound inputs; outputs for the scores are added to it."""
        self._nodes = _choosing(model)
        shown = {name for node in self._nodes for name in (node.input[0], node.output[1])}
        _add_outputs(model, sorted(shown - {value.name for value in model.graph.output}))
        self._reference = Reference(model, bind)
        self.margins: Array = np.zeros(0)

    @classmethod
    def of(cls, reference: Reference) -> Choices | None:
        """The choices of a model; `None` when it makes none, or is too large to look into."""
        import onnx

        source = reference.model
        model = onnx.load(source, load_external_data=False) if isinstance(source, str | Path) else source
        if not _choosing(model) or _weight_bytes(source, model) > _MOST_BYTES:
            return None
        own = onnx.ModelProto()
        own.CopyFrom(onnx.load(source) if isinstance(source, str | Path) else source)
        return cls(own, reference.bind)

    def watch(self, inputs: Mapping[str, Array]) -> None:
        """Run the model and keep the margins of its choices."""
        found = self._reference.run(inputs)
        for node in self._nodes:
            attributes = {each.name: each.i for each in node.attribute}
            scores, places = (
                np.moveaxis(found[name], attributes.get("axis", -1), -1) for name in (node.input[0], node.output[1])
            )
            ordered = scores.astype(np.float64) if attributes.get("largest", 1) else -scores.astype(np.float64)
            self.margins = np.concatenate([self.margins, margins(ordered, places)])

    def note(self) -> str | None:
        """What is to be said of near ties; `None` when nothing was chosen."""
        if not self.margins.size:
            return None
        closest = float(self.margins.min())
        said = f"the closest of the model's {self.margins.size} choices by top-k is {100 * closest:.2f} % from a tie"
        turns = "; where rounding turns such a choice, the outputs of that token differ, as they may in a right program"
        return said + (turns if closest <= NEAR_TIE else "")


def margins(scores: Array, places: Array) -> Array:
    """Lead of the worst chosen score over the best one left out, relative to the larger magnitude of both, flat.

    Args:
        scores: [..., n]; the largest are chosen.
        places: [..., k], of the chosen ones.

    Returns:
        One number for each choice; none where everything is chosen.
    """
    if places.shape[-1] >= scores.shape[-1] or not places.shape[-1]:
        return np.zeros(0)
    is_chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(is_chosen, places, True, axis=-1)
    chosen, left = np.where(is_chosen, scores, np.inf).min(-1), np.where(is_chosen, -np.inf, scores).max(-1)
    largest = np.maximum(np.maximum(np.abs(chosen), np.abs(left)), np.finfo(np.float64).tiny)
    return np.asarray((chosen - left) / largest).reshape(-1)


def _choosing(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "TopK" and len(node.output) > 1 and node.output[1]]


def _weight_bytes(source: Any, model: onnx.ModelProto) -> int:
    """Bytes of the weights: those of a file's tensors stand in the file itself or in files beside it."""
    external = [entry for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "length"]
    inside = Path(source).stat().st_size if isinstance(source, str | Path) else model.ByteSize()
    return inside + sum(int(entry.value) for entry in external)


def _add_outputs(model: onnx.ModelProto, names: list[str]) -> None:
    """Make tensors outputs; their types are what ONNX Runtime finds."""
    import onnx

    for name in names:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
