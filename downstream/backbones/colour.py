"""Colour features for the readouts of a video."""

from __future__ import annotations

import cv2
import numpy as np

BLURS = (0.0, 0.0125, 0.033)
"""Blur widths of the colour features, as shares of the frame's height: the pixel, its texture, its surroundings."""


def colours(frame: np.ndarray) -> np.ndarray:
    """(H, W, 9) Lab of a frame (H, W, 3) uint8 RGB at three scales, each channel with about unit spread."""
    lab: np.ndarray = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lab = (lab - np.array((50, 0, 0), np.float32)) / np.array((50, 25, 25), np.float32)
    widths = [share * frame.shape[0] for share in BLURS]
    return np.concatenate([cv2.GaussianBlur(lab, (0, 0), w) if w else lab for w in widths], -1)
