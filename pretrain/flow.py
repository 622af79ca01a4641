"""Where what a copy shows is in its original, when the copy is of a frame shortly before or after."""

from __future__ import annotations

import numpy as np

from mug.grid import cells_to_frame
from mug.priors.motion import optical_flow

SIDE = 192
"""Shorter side of the frames between which flow is computed; a cell of a training frame is several of these pixels."""
FINEST = 1
"""Scale at which the flow ends, halves of `SIDE`: cells need no sharper outlines."""
SLACK = 0.5
"""Pixels by which flow there and back may miss where it began ..."""
SLACK_SHARE = 0.05
"""... and by so much more as a share of the way."""


def moved(
    shown: np.ndarray, original: np.ndarray, copy_theta: np.ndarray, theta: np.ndarray, size: int, stride: int
) -> np.ndarray:
    """How far the content of each cell of a copy lies from where its known warp leads, because time has passed.

    Flow that does not come back to where it began is not believed: what it speaks of is hidden or looks like much else.

    Args:
        shown: (H, W, 3) uint8 RGB, the whole frame that the copy shows a part of.
        original: (H, W, 3), that of the original.
        copy_theta: (2, 3), from [-1, 1] coordinates of the copy to those of `shown`.
        theta: (2, 3), from [-1, 1] coordinates of the original's training frame to those of `original`.
        size: Side of the training frames in pixels.
        stride: Pixels of them to a cell.

    Returns:
        (h w, 2), (x, y) in [-1, 1] coordinates of the original's training frame, cells row by row; NaN where unknown.
    """
    import cv2

    height, width = _working_size(original)
    here, over_there = (cv2.resize(x, (width, height), interpolation=cv2.INTER_AREA) for x in (shown, original))
    there, back = optical_flow(here, over_there, FINEST), optical_flow(over_there, here, FINEST)
    axis = cells_to_frame(np.arange(-(-size // stride)), size, stride)
    x, y = np.meshgrid(axis, axis)
    places = np.column_stack([x.ravel(), y.ravel()]) @ copy_theta[:, :2].T + copy_theta[:, 2]
    start = ((places + 1) * [width, height] - 1) / 2
    way = _read(there, start)
    missed = np.linalg.norm(way + _read(back, start + way), axis=1)
    way[missed > SLACK + SLACK_SHARE * np.linalg.norm(way, axis=1)] = np.nan
    return np.linalg.solve(theta[:, :2], (2 * way / [width, height]).T).T


def _working_size(frame: np.ndarray) -> tuple[int, int]:
    scale = SIDE / min(frame.shape[:2])
    return round(frame.shape[0] * scale), round(frame.shape[1] * scale)


def _read(flow: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 2) flow at points (x, y) in pixels, that of the frame's edge beyond it."""
    import cv2

    x, y = points.astype(np.float32).T[:, None]
    return cv2.remap(flow, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0].astype(np.float64)
