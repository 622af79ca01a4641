"""EdgeBoxes (Zitnick and Dollar 2014) on edges computed without learning.

The structured-edge detector published with EdgeBoxes is a forest trained on annotated outlines, and OpenCV does not
ship its model. The edges here are gradients instead: of colour, and of motion relative to the camera, which has edges
at object boundaries but not in their texture.
"""

from __future__ import annotations

import cv2
import numpy as np

EDGE_BLUR = 1.5
"""Standard deviation, in pixels, of the blur before gradients are computed."""
MOTION_SHARE = 0.7
"""Weight of motion edges; the rest is the weight of colour edges."""
STRONG = 99.0
"""Percentile of an edge map that is scaled to 1."""


def edge_boxes(frame: np.ndarray, residual: np.ndarray, most: int, least_area: float) -> np.ndarray:
    """Boxes that contain many edges and that few edges cross.

    Args:
        frame: (H, W, 3) uint8 RGB.
        residual: (H, W, C) float32, flow to one or several other frames with camera motion removed.
        most: Maximum number of boxes.
        least_area: Minimum area of a box, in pixels.

    Returns:
        (N, 4) int x, y, width, height; best first.
    """
    edges, normal = edge_map(frame, residual)
    along = (normal + np.pi / 2) % np.pi
    finder = cv2.ximgproc.createEdgeBoxes(maxBoxes=most, minBoxArea=least_area)
    found = finder.getBoundingBoxes(edges.astype(np.float32), along.astype(np.float32))[0]
    return np.asarray(found, int).reshape(-1, 4)


def edge_map(frame: np.ndarray, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thinned edges (H, W) in [0, 1], and their normal direction (H, W) in radians."""
    lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    (colour, across), (motion, across_motion) = (gradient(image) for image in (lab, residual))
    colour, motion = (edges / max(float(np.percentile(edges, STRONG)), 1e-6) for edges in (colour, motion))
    normal = np.where(motion > colour, across_motion, across)
    strength = MOTION_SHARE * motion + (1 - MOTION_SHARE) * colour
    return np.clip(thin(strength, normal), 0, 1), normal


def gradient(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strength and direction of the gradient of a smoothed (H, W, C) image (Di Zenzo 1986)."""
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), EDGE_BLUR)
    dx, dy = (cv2.Sobel(smooth, cv2.CV_32F, at, 1 - at, ksize=3) for at in (1, 0))
    xx, xy, yy = (dx * dx).sum(-1), (dx * dy).sum(-1), (dy * dy).sum(-1)
    strength = np.sqrt((xx + yy + np.hypot(xx - yy, 2 * xy)) / 2)
    return strength, np.arctan2(2 * xy, xx - yy) / 2


def thin(strength: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Non-maximum suppression of (H, W) edges along their normal direction."""
    y, x = np.mgrid[: strength.shape[0], : strength.shape[1]].astype(np.float32)
    dx, dy = np.cos(normal).astype(np.float32), np.sin(normal).astype(np.float32)
    beside = [cv2.remap(strength, x + s * dx, y + s * dy, cv2.INTER_LINEAR) for s in (-1, 1)]
    return np.where(strength >= np.maximum(*beside), strength, 0)
