"""Programs for cores of digital CIM arrays."""

from pimc.backend.digital_cim.decoder_layers import cim_layers
from pimc.backend.digital_cim.layer import CimLayer, DeclaredCache, LayerNumbers
from pimc.backend.digital_cim.program import PUBLISHED_INSTANCE, Workload, build_cim_layer

__all__ = [
    "PUBLISHED_INSTANCE",
    "CimLayer",
    "DeclaredCache",
    "LayerNumbers",
    "Workload",
    "build_cim_layer",
    "cim_layers",
]
