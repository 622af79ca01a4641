"""Learning-free object proposals of a frame: EdgeBoxes and motion layers, outlined by GrabCut (MuG Sec. 3.3).

Pixels that move together inside a box seed a proposal. EdgeBoxes miss some objects, and motion layers split some, so
both contribute seeds; linking over time selects the seed that fits the object best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from downstream.instances.edge_boxes import edge_boxes
from downstream.instances.flow import FlowMethod
from downstream.instances.motion_layers import layers, part_of, see_motion, together

LEAST_AREA = 0.002
"""Minimum area of a proposal, as a share of the frame."""
LEAST_BOX = 0.003
"""Minimum area of a box, as a share of the frame."""
BOXES = 50
"""Maximum number of boxes examined."""
FILLED = 0.25
"""Minimum share of a box that is foreground; at least half of that must move together."""
SAME = 0.7
"""IoU above which two seeds are the same."""
SEEDS = 12
"""Number of seeds in a frame at which no more boxes are examined."""
FOREGROUND = 0.4
"""Mean evidence above which a proposal is foreground."""
OUTLINE = 0.04
"""Maximum distance that GrabCut may move the outline of a seed, as a share of the diagonal."""
GRABCUT_ROUNDS = 2
"""Iterations of GrabCut."""


class Proposal(NamedTuple):
    """A region of a frame that may be an object."""

    mask: np.ndarray
    """(H, W) bool."""
    score: float
    """Confidence that it is a foreground object, in [0, 1]."""


def propose(
    frame: np.ndarray, others: Sequence[np.ndarray], foreground: np.ndarray, flow: FlowMethod
) -> list[Proposal]:
    """Proposals of one frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        others: Nearby frames, for motion.
        foreground: (H, W) float in [0, 1], the object-level map.
        flow: Optical flow method.
    """
    motion = see_motion(frame, others, flow)
    evidence = np.maximum(foreground, motion.moving)
    region = motion.moving | (foreground > 0.5)  # the object-level map also covers objects at rest
    seeds = layers(motion, region)
    least = LEAST_BOX * region.size
    for x, y, width, height in edge_boxes(frame, motion.residual, BOXES, least):
        inside = np.zeros_like(region)
        inside[y : y + height, x : x + width] = region[y : y + height, x : x + width]
        if inside.sum() < max(least, FILLED * width * height):
            continue
        seed = part_of(together(motion, inside) & inside, inside)
        if seed.sum() >= inside.sum() / 2 and not any(overlap(seed, other) > SAME for other in seeds):
            seeds.append(seed)
        if len(seeds) >= SEEDS:
            break
    masks = [grab(frame, seed) for seed in seeds if seed.sum() > LEAST_AREA * region.size]
    return filtered([Proposal(mask, 1.0) for mask in masks], evidence)


def filtered(proposals: Sequence[Proposal], evidence: np.ndarray) -> list[Proposal]:
    """Drops background proposals (MuG Sec. 3.3, AGNN Sec. 4.1).

    Args:
        proposals: Proposals of one frame.
        evidence: (H, W) in [0, 1], foreground confidence per pixel.

    Returns:
        The proposals with enough area and evidence; their scores are multiplied by the mean evidence.
    """
    large = [p for p in proposals if p.mask.sum() > LEAST_AREA * p.mask.size]
    sure = [Proposal(p.mask, p.score * float(evidence[p.mask].mean())) for p in large]
    return [new for old, new in zip(large, sure, strict=True) if new.score > FOREGROUND * old.score]


def grab(frame: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Aligns the outline of a seed with colour edges by GrabCut (Rother et al. 2004).

    The core of the seed is fixed as object and distant pixels as background; GrabCut decides about those in between.

    Args:
        frame: (H, W, 3) uint8 RGB.
        seed: (H, W) bool, not empty.

    Returns:
        (H, W) bool, the connected component with most of the seed; the seed itself if GrabCut has too few pixels.
    """
    reach = max(1, int(OUTLINE * float(np.hypot(*seed.shape))))
    x, y, width, height = cv2.boundingRect(seed.astype(np.uint8))
    window = (
        slice(max(y - 2 * reach, 0), y + height + 2 * reach),
        slice(max(x - 2 * reach, 0), x + width + 2 * reach),
    )
    inside = seed[window].astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (reach // 2) + 1,) * 2)
    trimap = np.full(inside.shape, cv2.GC_BGD, np.uint8)
    trimap[cv2.dilate(inside, disc) > 0] = cv2.GC_PR_BGD
    trimap[inside > 0] = cv2.GC_PR_FGD
    trimap[cv2.erode(inside, disc) > 0] = cv2.GC_FGD
    if not (trimap == cv2.GC_BGD).any():
        return seed
    cv2.setRNGSeed(0)
    colours, models = np.ascontiguousarray(frame[window]), np.zeros((2, 1, 65))
    try:
        cv2.grabCut(colours, trimap, (0, 0, 1, 1), models[0], models[1], GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # fewer pixels than components in the colour models
        return seed
    out = np.zeros_like(seed)
    out[window] = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    return part_of(out, seed)


def overlap(mask: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks (H, W) bool; 0 if both are empty."""
    either = int(np.count_nonzero(mask | other))
    return int(np.count_nonzero(mask & other)) / either if either else 0.0
