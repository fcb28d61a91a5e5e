"""Importers by (domain, operator): the operators that the compiler takes."""

from __future__ import annotations

from pimc.frontend.onnx_node import Importer
from pimc.frontend.operators.activations import ACTIVATIONS
from pimc.frontend.operators.attention import ATTENTION
from pimc.frontend.operators.channel_norms import CHANNEL_NORMS
from pimc.frontend.operators.contrib import CONTRIB
from pimc.frontend.operators.contrib_attention import CONTRIB_ATTENTION
from pimc.frontend.operators.contrib_quantization import CONTRIB_QUANTIZATION
from pimc.frontend.operators.convolution import CONVOLUTION
from pimc.frontend.operators.einsum import EINSUM
from pimc.frontend.operators.elementwise import ELEMENTWISE
from pimc.frontend.operators.grouped_attention import GROUPED_ATTENTION
from pimc.frontend.operators.indexing import INDEXING
from pimc.frontend.operators.matmul import MATMUL
from pimc.frontend.operators.normalization import NORMALIZATION
from pimc.frontend.operators.padding import PADDING
from pimc.frontend.operators.pooling import POOLING
from pimc.frontend.operators.quantization import QUANTIZATION
from pimc.frontend.operators.reductions import REDUCTIONS
from pimc.frontend.operators.rotary import ROTARY
from pimc.frontend.operators.scatter import SCATTER
from pimc.frontend.operators.selection import SELECTION
from pimc.frontend.operators.shape_ops import SHAPE_OPS

_STANDARD = (
    ACTIVATIONS,
    ATTENTION,
    CHANNEL_NORMS,
    CONVOLUTION,
    EINSUM,
    ELEMENTWISE,
    INDEXING,
    MATMUL,
    PADDING,
    POOLING,
    QUANTIZATION,
    REDUCTIONS,
    ROTARY,
    SCATTER,
    SELECTION,
    SHAPE_OPS,
)

IMPORTERS: dict[tuple[str, str], Importer] = {
    **{("", name): importer for family in _STANDARD for name, importer in family.items()},
    **NORMALIZATION,
    **CONTRIB,
    **CONTRIB_ATTENTION,
    **CONTRIB_QUANTIZATION,
    **GROUPED_ATTENTION,
}
"""By domain (the standard one is the empty string) and operator."""
