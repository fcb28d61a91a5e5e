"""From ONNX files to graphs: loading, dimension binding, one small function for each ONNX operator."""

from __future__ import annotations

from pimc.frontend.importer import import_model
from pimc.frontend.limits import Limits
from pimc.frontend.loading import LoadedModel, load_model, wrap_model

__all__ = ["Limits", "LoadedModel", "import_model", "load_model", "wrap_model"]
