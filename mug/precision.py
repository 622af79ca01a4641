"""Arithmetic that needs more digits than autocast's half precision."""

from __future__ import annotations

import torch
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """The same in at least single precision, for sums, norms and softmax."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
