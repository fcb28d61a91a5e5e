"""Policies of all layers with parameters that are tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from passes import KvSpecification, LayerEncoding, layer_encoding

Number = int | float | str


@dataclass(frozen=True)
class Settings:
    """Policies of all layers.

    Attributes:
        text: Specification of the layers that do not encode; empty when all do.
        layers: Those that encode, by their number.
    """

    text: str
    layers: Mapping[int, LayerEncoding]

    @property
    def specification(self) -> str:
        """For `--kv`: a clause for each layer that encodes, behind those of the others."""
        return " ;\n".join([*([self.text] if self.text else []), *(each.text for each in self.layers.values())])

    def with_values(self, layer: int, values: Mapping[str, Number]) -> Settings:
        """The same with these parameters in one layer."""
        return replace(self, layers={**self.layers, layer: self.layers[layer].with_values(values)})


def settings_of(specification: KvSpecification, count: int) -> Settings:
    """What a specification says about the layers of a model.

    Args:
        specification: Read from `--kv`.
        count: Layers of the model.
    """
    found = {layer: each for layer in range(count) if (each := layer_encoding(specification, layer)) is not None}
    return Settings(specification.text if len(found) < count else "", found)
