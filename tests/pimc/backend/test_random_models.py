"""Random transformer-like models: compile without internal errors, and give what ONNX Runtime gives."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import HealthCheck, given, settings

pytest.importorskip("onnxruntime")

from model_maker import check
from random_models import models

EXAMPLES = 1000 if settings.get_current_profile_name() == "soak" else 100


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(model=models())
def test_random_models_equal_onnx_runtime(model: onnx.ModelProto) -> None:
    check(model, [{"seq": 19, "source": 2}, {"seq": 1, "source": 9}])
