"""Threshold for the map of a video: close to 0.5, where the outline of the mask follows edges of the frames."""

from __future__ import annotations

import math

import cv2
import numpy as np

TRIED = np.linspace(0.2, 0.8, 13)
"""Candidate thresholds; the middle one is 0.5."""
OUTLINE_STRIDE = 4
"""Stride in frames for measuring the fit of an outline."""
EDGE_BLUR = 2.0
"""Standard deviation, in pixels at phi's input size, of the blur before edges are computed."""


def best_cut(map_thw: np.ndarray, frames: np.ndarray, leeway: float) -> float:
    """The best threshold of TRIED for the maps of a video.

    At this threshold the mask is most stable (as in maximally stable extremal regions, Matas et al. 2002) and its
    outline strongest: it minimises the ratio of the change of log area with the threshold to the squared edge strength
    along the outline, among thresholds whose area is within a factor of `leeway` of that at 0.5.

    Args:
        map_thw: Foreground probability.
        frames: (T, H, W, 3) uint8 RGB.
        leeway: Maximum factor between the area and that at 0.5.
    """
    area = np.array([(map_thw > cut).mean() for cut in TRIED])
    log_area = np.log(area + 1e-5)
    change = np.convolve(np.pad(-np.gradient(log_area, TRIED), 1, mode="edge"), (0.25, 0.5, 0.25), "valid")
    badness = (change + 1e-3) / (outline_strength(map_thw, frames) + 1e-6) ** 2
    middle = len(TRIED) // 2
    badness[np.abs(log_area - log_area[middle]) > math.log(leeway)] = np.inf
    return float(TRIED[badness.argmin()])


def outline_strength(map_thw: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Mean edge strength of the frames along the outline of the mask, at each threshold of TRIED."""
    total, length = np.zeros(len(TRIED)), np.zeros(len(TRIED))
    for map_hw, frame in zip(map_thw[::OUTLINE_STRIDE], frames[::OUTLINE_STRIDE], strict=True):
        strength = edges(frame)
        high, low = (change(map_hw, np.ones((3, 3), np.uint8)) for change in (cv2.dilate, cv2.erode))
        for at, cut in enumerate(TRIED):
            outline = (high > cut) & (low <= cut)
            total[at] += strength[outline].sum()
            length[at] += outline.sum()
    return total / np.maximum(length, 1)


def edges(frame: np.ndarray) -> np.ndarray:
    """(H, W) gradient magnitude of smoothed Lab colour."""
    lab = cv2.GaussianBlur(cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), (0, 0), EDGE_BLUR)
    steps = [cv2.Sobel(lab, -1, dx, 1 - dx, ksize=3) for dx in (0, 1)]
    return np.sqrt(sum(np.square(step).sum(-1) for step in steps))
