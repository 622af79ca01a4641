"""Arithmetic that needs more precision than autocast's half."""

from __future__ import annotations

import torch
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """Converts to at least single precision, for sums, norms and softmax."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
