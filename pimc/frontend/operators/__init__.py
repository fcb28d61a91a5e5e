"""Importers by (domain, operator): the operators that the compiler takes."""

from __future__ import annotations

from pimc.frontend.onnx_node import Importer
from pimc.frontend.operators.attention import ATTENTION
from pimc.frontend.operators.contrib import CONTRIB
from pimc.frontend.operators.elementwise import ELEMENTWISE
from pimc.frontend.operators.indexing import INDEXING
from pimc.frontend.operators.matmul import MATMUL
from pimc.frontend.operators.normalization import NORMALIZATION
from pimc.frontend.operators.quantization import QUANTIZATION
from pimc.frontend.operators.reductions import REDUCTIONS
from pimc.frontend.operators.rotary import ROTARY
from pimc.frontend.operators.shape_ops import SHAPE_OPS

_STANDARD = (ATTENTION, ELEMENTWISE, INDEXING, MATMUL, QUANTIZATION, REDUCTIONS, ROTARY, SHAPE_OPS)

IMPORTERS: dict[tuple[str, str], Importer] = {
    **{("", name): importer for family in _STANDARD for name, importer in family.items()},
    **NORMALIZATION,
    **CONTRIB,
}
"""By domain (the standard one is the empty string) and operator."""
