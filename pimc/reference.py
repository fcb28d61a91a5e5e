"""The model on ONNX Runtime, with which outputs are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isa import InputError, MissingPackageError, Place

if TYPE_CHECKING:
    import onnx


class Reference:
    """A model loaded into ONNX Runtime on the CPU, with its graph optimisations turned off.

    Attributes:
        model: Path of the model, or the model itself.
        bind: Values by input name that every run gets.
        inputs: Names of the model's inputs.
        outputs: Names of the model's outputs.
    """

    def __init__(self, model: str | Path | onnx.ModelProto, bind: Mapping[str, Any] | None = None) -> None:
        """Load a model.

        Args:
            model: Path of the model, or the model itself.
            bind: Values by input name that every run gets; one number fills the whole input.

        Raises:
            MissingPackageError: ONNX Runtime is not installed.
            InputError: ONNX Runtime refuses the model.
        """
        self.model, self.bind = model, dict(bind or {})
        runtime = import_runtime()
        options = runtime.SessionOptions()
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        source = str(model) if isinstance(model, str | Path) else model.SerializeToString()
        try:
            self._session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as problem:  # its bindings raise exceptions without a common public base
            raise InputError(
                "ONNX Runtime refuses the model", _place(model), notes=[str(problem).splitlines()[0]]
            ) from None
        self.inputs = tuple(value.name for value in self._session.get_inputs())
        self.outputs = tuple(value.name for value in self._session.get_outputs())
        shapes = {value.name: (value.type, value.shape) for value in self._session.get_inputs()}
        self._bound = {name: _filled(value, *shapes[name]) for name, value in self.bind.items()}

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs by name.

        Raises:
            InputError: ONNX Runtime refuses the inputs.
        """
        given = self._bound | {name: array for name, array in inputs.items() if name in self.inputs}
        try:
            return dict(zip(self.outputs, self._session.run(None, given), strict=True))
        except Exception as problem:  # as above
            raise InputError("ONNX Runtime refuses the inputs", notes=[str(problem).splitlines()[0]]) from None


def _filled(value: Any, kind: str, shape: Sequence[int | str]) -> NDArray[Any]:
    """The value of a bound input as an array of ONNX Runtime's type, such as `tensor(int64)`, and shape."""
    dtype = {"float": "float32", "double": "float64"}.get(name := kind[len("tensor(") : -1], name)
    array = np.asarray(value)
    sizes = [dim for dim in shape if isinstance(dim, int)]
    return (array if array.ndim else np.broadcast_to(array, sizes)).astype(dtype)


def import_runtime() -> Any:
    """The module onnxruntime.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingPackageError(
            "comparing with ONNX Runtime needs the package onnxruntime", help='pip install "pimc[verify]"'
        ) from None
    return onnxruntime


def _place(model: Any) -> Place | None:
    return Place(str(model)) if isinstance(model, str | Path) else None
