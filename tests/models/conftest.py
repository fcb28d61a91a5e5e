"""Makes the scripts of models/ importable, as they are when one of them is run."""

from __future__ import annotations

import sys
from pathlib import Path

MODELS = Path(__file__).parents[2] / "models"

if str(MODELS) not in sys.path:
    sys.path.append(str(MODELS))
