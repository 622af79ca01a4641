"""Inputs of test-time refinement for a stretch of video; each frame is decoded and encoded once."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from downstream.backbones.lattice import Lattice
from downstream.zero_shot.flow import optical_flow
from downstream.zero_shot.log_odds import log_odds
from downstream.zero_shot.sight import Sight
from mug.priors import Prior

PHI_CHANNELS = 32
"""Number of principal components of r in the input of a readout."""


@dataclass
class Watched:
    """Inputs of test-time refinement for a stretch of T frames."""

    frames: np.ndarray
    """(T, H, W, 3) uint8 RGB."""
    prior: np.ndarray
    """(T, H, W) float32 in [0, 1]."""
    ahead: np.ndarray
    """(T - 1, H, W, 2) float16: flow in pixels from each frame to the next."""
    back: np.ndarray
    """(T - 1, H, W, 2) float16: flow in pixels from each frame but the first to the previous one."""
    phi: np.ndarray
    """(T, h, w, C) float16 on phi's grid: principal components of r, and log odds of the trained readout."""
    lattice: Lattice
    """Position of the cells of that grid."""


def watch(sight: Sight, stretch: range, prior: Prior) -> Watched:
    """Reads a stretch of the video once: frames, prior, optical flow and phi's features."""
    height, width = sight.size
    frames, r, read = [], [], []
    for index in stretch:
        frame = sight.video[index]
        r_bchw = sight.augmented(index, frame)
        r.append(r_bchw[0].half().cpu())
        read.append(log_odds(sight.read(r_bchw)))
        frames.append(sight.shrink(frame))
    maps = [cv2.resize(q, (width, height), interpolation=cv2.INTER_AREA) for q in prior(sight.video, stretch)]
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    phi = np.concatenate([principal(torch.stack(r)), np.stack(read)[..., None]], -1)
    return Watched(
        np.stack(frames),
        np.stack(maps).astype(np.float32) / 255,
        optical_flow(grey[:-1], grey[1:]),
        optical_flow(grey[1:], grey[:-1]),
        phi.astype(np.float16),
        sight.lattice,
    )


def principal(r_tchw: Tensor, channels: int = PHI_CHANNELS) -> np.ndarray:
    """(T, C, h, w) -> (T, h, w, channels): principal components, scaled to unit variance."""
    flat = r_tchw.float().movedim(1, -1).flatten(0, 2)
    flat = flat - flat.mean(0)
    variance, directions = torch.linalg.eigh(flat.T @ flat / len(flat))
    variance, directions = variance[-channels:], directions[:, -channels:]
    flat = flat @ (directions * variance.clamp_min(1e-8).rsqrt())
    t, _, h, w = r_tchw.shape
    projected: np.ndarray = flat.view(t, h, w, -1).numpy()
    return projected
