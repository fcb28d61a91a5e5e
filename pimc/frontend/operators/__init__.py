"""Importers by (domain, operator): the operators that the compiler takes."""

from __future__ import annotations

from pimc.frontend.onnx_node import Importer
from pimc.frontend.operators.elementwise import ELEMENTWISE
from pimc.frontend.operators.indexing import INDEXING
from pimc.frontend.operators.matmul import MATMUL
from pimc.frontend.operators.normalization import NORMALIZATION
from pimc.frontend.operators.reductions import REDUCTIONS
from pimc.frontend.operators.shape_ops import SHAPE_OPS

IMPORTERS: dict[tuple[str, str], Importer] = {
    **{("", name): importer for name, importer in ELEMENTWISE.items()},
    **{("", name): importer for name, importer in INDEXING.items()},
    **{("", name): importer for name, importer in MATMUL.items()},
    **NORMALIZATION,
    **{("", name): importer for name, importer in REDUCTIONS.items()},
    **{("", name): importer for name, importer in SHAPE_OPS.items()},
}
"""By domain (the standard one is the empty string) and operator."""
