"""Motion segmentation of a frame: regions that move relative to the camera, split into layers of common motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from downstream.instances.flow import FlowMethod
from mug.priors.motion import without_camera

NOISE = 2.0
"""A pixel moves if its speed exceeds the flow noise by this factor. The noise is estimated by the median speed relative
to the camera, because most of a frame is background."""
NORMAL_SPREAD = 1.4826
"""Factor from the median absolute deviation to the standard deviation of a normal distribution."""
STILL = 0.5
"""Minimum motion in pixels."""
TOGETHER = 1.0
"""Maximum residual, in pixels, of a flow vector that belongs to an affine motion."""
POINTS = 400
"""Maximum number of points for fitting an affine motion."""
LAYERS = 10
SEED_RADIUS = 0.012
"""Minimum radius of the disc that seeds a layer, as a share of the diagonal."""
SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Motion:
    """Motion of a frame.

    Attributes:
        flows: (H, W, 2) float32 in pixels, to each of the other frames.
        residual: (H, W, 2 x flows), the flows with camera motion removed.
        moving: (H, W) bool: moves relative to the camera towards all of those frames, which excludes occlusions in one.
    """

    flows: list[np.ndarray]
    residual: np.ndarray
    moving: np.ndarray


def see_motion(frame: np.ndarray, others: Sequence[np.ndarray], flow: FlowMethod) -> Motion:
    """Motion of `frame` towards `others`; without others, nothing moves.

    Speed is measured relative to the flow noise, not to the fastest motion as in `mug.priors.motion`, which looks for a
    single object: here slow objects count as much as fast ones.
    """
    size = frame.shape[:2]
    flows = [flow(frame, other) for other in others]
    if not flows:
        return Motion([], np.zeros((*size, 2), np.float32), np.zeros(size, bool))
    residual = [without_camera(field) for field in flows]
    speeds = [np.linalg.norm(field, axis=-1) for field in residual]
    noise = max(NORMAL_SPREAD * float(np.median(speed)) for speed in speeds)
    moving = np.min(speeds, axis=0) > max(NOISE * noise, STILL)
    return Motion(flows, np.concatenate(residual, -1), opened(moving))


def layers(motion: Motion, where: np.ndarray) -> list[np.ndarray]:
    """Splits a region into connected layers, each with one affine motion.

    The largest disc inside the region seeds a layer: an affine motion is fitted to it, and the layer is the connected
    part of the region that contains the disc and follows that motion. The layer is removed and the search repeated.

    Args:
        motion: Motion of the frame.
        where: (H, W) bool, the region.

    Returns:
        (H, W) bool each, disjoint, in order of decreasing disc size.
    """
    rest, found = where.copy(), []
    for _ in range(LAYERS):
        depth = cv2.distanceTransform(np.pad(rest, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        radius = float(depth.max())
        if radius < SEED_RADIUS * float(np.hypot(*rest.shape)):
            break
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        disc = cv2.circle(np.zeros(rest.shape, np.uint8), (int(x), int(y)), int(max(radius, 3)), 1, -1) > 0
        disc &= rest
        layer = part_of(together(motion, disc) & rest, disc)
        if layer.sum() < disc.sum() / 2:  # the disc covers two motions
            layer = disc
        else:  # refit the motion to more points
            again = part_of(together(motion, layer) & rest, layer)
            layer = again if again.sum() > layer.sum() / 2 else layer
        layer = opened(layer)
        found.append(layer)
        rest &= cv2.dilate((layer | disc).astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
    return found


def together(motion: Motion, region: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels that follow the dominant motion of a region (H, W) bool, towards any of the other frames.

    An affine motion is fitted to the region by RANSAC; if the fit fails, the region itself is returned. Without other
    frames, all pixels are returned.
    """
    if not motion.flows:
        return np.ones_like(region)
    y, x = np.nonzero(region)
    if len(y) < 20:
        return region
    chosen = np.linspace(0, len(y) - 1, min(POINTS, len(y))).astype(int)
    y, x = y[chosen], x[chosen]
    points = np.stack([x, y], -1).astype(np.float32)
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in region.shape[::-1])), -1)
    misses = []
    for flow in motion.flows:
        cv2.setRNGSeed(0)
        matrix, _ = cv2.estimateAffine2D(points, points + flow[y, x], method=cv2.RANSAC, ransacReprojThreshold=TOGETHER)
        if matrix is not None:
            misses.append(np.linalg.norm(cv2.transform(grid, matrix) - grid - flow, axis=-1))
    return np.min(misses, axis=0) < TOGETHER if misses else region


def part_of(mask: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """(H, W) bool: the connected component of a mask that overlaps the seed most; empty if none does."""
    count, part = cv2.connectedComponents(mask.astype(np.uint8))
    shared = np.bincount(part[seed & mask], minlength=count)
    return part == shared.argmax() if shared.any() else np.zeros_like(mask)


def opened(mask: np.ndarray) -> np.ndarray:
    """Morphological opening (H, W) bool: removes parts thinner than three pixels."""
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, SQUARE) > 0
