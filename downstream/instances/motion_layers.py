"""What moves in a frame unlike the camera, and which of it moves together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from downstream.instances.flow import FlowMethod
from mug.priors.motion import without_camera

NOISE = 2.0
"""A pixel moves if it is so many times faster than the noise of the flow, which is the frame's median speed against the
camera: most of a frame is background."""
NORMAL_SPREAD = 1.4826
"""A median of absolute deviations times this is a standard deviation."""
STILL = 0.5
"""Pixels below which nothing is held to move."""
TOGETHER = 1.0
"""Pixels by which the flow may miss an affine motion that it belongs to."""
POINTS = 400
"""Points that an affine motion is fitted to."""
LAYERS = 10
SEED_RADIUS = 0.012
"""Share of the diagonal below which a disc is no seed of a layer."""
SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Motion:
    """How a frame moves.

    Attributes:
        flows: (H, W, 2) float32 in pixels, to each other frame that was looked at.
        residual: (H, W, 2 x flows), the same less that of the camera.
        moving: (H, W) bool: unlike the camera, to all of those frames, so that what is covered in one does not count.
    """

    flows: list[np.ndarray]
    residual: np.ndarray
    moving: np.ndarray


def see_motion(frame: np.ndarray, others: Sequence[np.ndarray], flow: FlowMethod) -> Motion:
    """How `frame` moves to `others`; without any, nothing moves.

    Other than `mug.priors.motion`, which looks for one object, this takes the slowest of several for as sure as the
    fastest: speed is measured by the noise of the flow, not by the fastest.
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
    """Cuts a region into connected parts that move together, each by one affine motion.

    The disc that fits best into the region seeds a layer: an affine motion is fitted to it, and the layer is what of
    the region hangs together with it and moves so. Then it is taken out.

    Args:
        motion: Of the frame.
        where: (H, W) bool, the region.

    Returns:
        (H, W) bool each, disjoint, that of the largest disc first.
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
        if layer.sum() < disc.sum() / 2:  # the disc lies on two motions
            layer = disc
        else:  # more points give a better motion
            again = part_of(together(motion, layer) & rest, layer)
            layer = again if again.sum() > layer.sum() / 2 else layer
        layer = opened(layer)
        found.append(layer)
        rest &= cv2.dilate((layer | disc).astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
    return found


def together(motion: Motion, region: np.ndarray) -> np.ndarray:
    """(H, W) bool: what moves as most of a region (H, W) bool does, to any of the other frames.

    An affine motion is fitted to the region by RANSAC; where none can be fitted, the region itself is given. In a frame
    alone everything moves together.
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
    """(H, W) bool: the connected part of a mask that shares most with the seed; empty where they share nothing."""
    count, part = cv2.connectedComponents(mask.astype(np.uint8))
    shared = np.bincount(part[seed & mask], minlength=count)
    return part == shared.argmax() if shared.any() else np.zeros_like(mask)


def opened(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool without what is thinner than three pixels."""
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, SQUARE) > 0
