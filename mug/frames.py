"""Frames as networks take them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_tensor(*frames: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Gives (B, 3, H, W) float32 in [0, 1] of B frames, HWC uint8 RGB, all of one size."""
    stacked = np.ascontiguousarray(frames[0])[None] if len(frames) == 1 else np.stack(frames)
    return torch.from_numpy(stacked).to(device).permute(0, 3, 1, 2).float() / 255
