"""Scalar registers: handed out once, and where they run out the error says for which node."""

from __future__ import annotations

import pytest

from isa import REGISTER_COUNT, ResourceLimitError, Source
from pimc.backend.emitter import Emitter


def test_the_error_names_the_node_and_says_what_needs_fewer() -> None:
    emitter = Emitter()
    with emitter.origin(Source("attention", ("/layers.0/Attention",))):
        found = {emitter.register() for _ in range(REGISTER_COUNT)}
        with pytest.raises(ResourceLimitError) as refused:
            emitter.register()
    assert found == set(range(REGISTER_COUNT))
    assert refused.value.place is not None
    assert refused.value.place.node == "attention"
    assert list(refused.value.notes) == ["from the ONNX node '/layers.0/Attention'"]
    assert "fewer policies of the KV cache" in str(refused.value.help)
    emitter.release(7)
    assert emitter.register() == 7
