"""Saliency of a single frame by graph-based manifold ranking (Yang et al., CVPR 2013)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from mug.priors.superpixels import Superpixels, superpixels
from mug.video import Video

SUPERPIXELS = 200
COLOUR_SPREAD = 0.1
"""sigma^2 of the edge weights, for Lab channels in [0, 1]."""
ALPHA = 0.99
"""How much a node takes from its neighbours against its own query."""
WORKING_SIDE = 240
"""Shorter side that frames are shrunk to: superpixels do not need more."""


def saliency_prior(video: Video, indices: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Soft foreground maps of single frames, HW uint8 at the video's size; 0.5 is each map's Otsu threshold.

    Args:
        video: The video.
        indices: Frames that maps are wanted of; all when not given.
    """
    import cv2

    height, width = video.size
    for index in range(len(video)) if indices is None else indices:
        soft = centre_threshold(manifold_ranking(shrink(video[index])))
        yield to_bytes(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR))


def manifold_ranking(rgb: np.ndarray) -> np.ndarray:
    """Saliency of a frame: first what is unlike each of its sides, then what is like that.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (H, W) float32 in [0, 1].
    """
    import cv2

    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    pieces = superpixels(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), SUPERPIXELS)
    rank = ranking_matrix(pieces, pieces.mean(lab))
    background = [1 - unit_range(rank[:, side].sum(axis=1)) for side in pieces.sides()]
    first = unit_range(np.prod(background, axis=0))
    second = unit_range(rank @ (first > first.mean()))
    return second[pieces.labels].astype(np.float32)


def ranking_matrix(pieces: Superpixels, colours: np.ndarray) -> np.ndarray:
    """(D - alpha W)^-1 without its diagonal (Yang et al. Eq. 3 and Section 3.1): f = A y ranks all nodes for queries y.

    Nodes are joined to their neighbours and to the neighbours of those; the nodes on the sides of the frame are all
    joined to each other.

    Args:
        pieces: The nodes, n of them.
        colours: (n, 3) mean Lab colours in [0, 1].
    """
    near = np.eye(pieces.count, dtype=bool)
    i, j = pieces.edges().T
    near[i, j] = near[j, i] = True
    near = near.astype(np.float32) @ near.astype(np.float32) > 0
    border = np.unique(np.concatenate(pieces.sides()))
    near[np.ix_(border, border)] = True
    np.fill_diagonal(near, False)
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    distance = unit_range(np.where(near, distance, distance[near].mean()))
    weights = np.where(near, np.exp(-distance / COLOUR_SPREAD), 0)
    degree = np.maximum(weights.sum(axis=1), 1e-12)
    rank = np.linalg.inv(np.diag(degree) - ALPHA * weights)
    np.fill_diagonal(rank, 0)
    return rank


def shrink(rgb: np.ndarray) -> np.ndarray:
    """A frame with its shorter side at most `WORKING_SIDE`."""
    import cv2

    height, width = rgb.shape[:2]
    scale = WORKING_SIDE / min(height, width)
    if scale >= 1:
        return rgb
    return cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)


def unit_range(values: np.ndarray) -> np.ndarray:
    """Values moved and scaled to [0, 1]; all 0 where they are all alike."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high - low > 1e-9 else np.zeros_like(values)


def otsu(values: np.ndarray) -> float:
    """Otsu's threshold of values in [0, 1]."""
    import cv2

    level, _ = cv2.threshold(to_bytes(values).reshape(1, -1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return float(level) / 255


def centre_threshold(soft: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """A map in [0, 1] bent by a power so that its threshold, Otsu's when not given, comes to lie at 0.5."""
    level = min(max(otsu(soft) + 0.5 / 255 if threshold is None else threshold, 0.02), 0.98)
    return np.asarray(np.clip(soft, 0, 1) ** (math.log(0.5) / math.log(level)), dtype=np.float32)


def to_bytes(soft: np.ndarray) -> np.ndarray:
    """A map in [0, 1] as uint8."""
    return np.rint(np.clip(soft, 0, 1) * 255).astype(np.uint8)
