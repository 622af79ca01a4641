"""Frames as network input."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_tensor(*frames: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Converts B frames of one size, HWC uint8 RGB, to (B, 3, H, W) float32 in [0, 1]."""
    stacked = np.ascontiguousarray(frames[0])[None] if len(frames) == 1 else np.stack(frames)
    return torch.from_numpy(stacked).to(device).permute(0, 3, 1, 2).float() / 255
