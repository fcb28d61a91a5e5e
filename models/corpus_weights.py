"""Random weights for the corpus that hide no error, and that git compresses."""

from __future__ import annotations

import torch

SEED = 20
MANTISSA_BITS = 5


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Replaces the near-constant initial weights, so that no error hides behind a bias of 0 or a scale of 1.

    The numbers keep five bits of mantissa, so that a file compresses to a third.
    """
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_scale = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(_rounded(1 + 0.1 * noise if is_scale else 0.2 * noise))
    return model.eval()


def _rounded(numbers: torch.Tensor) -> torch.Tensor:
    mantissa, exponent = torch.frexp(numbers)
    return torch.ldexp(torch.round(mantissa * 2**MANTISSA_BITS) / 2**MANTISSA_BITS, exponent)
