"""Saliency of single frames by manifold ranking (Yang et al., CVPR 2013): the paper's prior without labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mug.media.video import Video
from mug.priors.consensus import adaptive_level, bend, to_bytes, unit_range
from mug.priors.superpixels import Superpixels, shrink, superpixels

WORKING_SIDE = 160
"""Shorter side of the resized frames: so few superpixels need no more."""
SUPERPIXELS = 250
COLOUR_SPREAD = 0.1
"""sigma^2 of the edge weights of the ranking, for distances scaled to [0, 1] (Yang et al. Eq. 4)."""
ALPHA = 0.99
"""Weight of a node's neighbours relative to its own query (Yang et al. Eq. 3)."""


def manifold_ranking_prior(video: Video, indices: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Soft foreground maps of single frames, HW uint8 at the video's size; 0.5 is twice the mean of a map.

    Args:
        video: The video.
        indices: Frames to compute maps for; None for all.
    """
    import cv2

    height, width = video.size
    for index in range(len(video)) if indices is None else indices:
        pieces, lab = cut_frame(video[index])
        soft = manifold_ranking(pieces, lab)
        small = bend(soft, adaptive_level(soft))[pieces.labels].astype(np.float32)
        yield to_bytes(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def manifold_ranking(pieces: Superpixels, lab: np.ndarray) -> np.ndarray:
    """Ranks superpixels by similarity to the frame's sides, then to what differs from all sides (Yang et al. Sec. 4).

    First, each of the four sides is used as background query. Superpixels that rank low for every side are foreground:
    the product of 1 - f over the sides (Eq. 9, 10). Then all are ranked with the superpixels whose product is above its
    mean as queries.

    Args:
        pieces: Superpixels of a frame, n of them.
        lab: (n, 3) mean colours in CIE Lab.

    Returns:
        (n,) in [0, 1].
    """
    rank = ranking_matrix(pieces, lab)
    sides = (pieces.labels[0], pieces.labels[-1], pieces.labels[:, 0], pieces.labels[:, -1])
    unlike = np.prod([1 - unit_range(rank @ np.isin(np.arange(pieces.count), side)) for side in sides], axis=0)
    return unit_range(rank @ (unlike > unlike.mean()))


def cut_frame(rgb: np.ndarray) -> tuple[Superpixels, np.ndarray]:
    """The n superpixels of a frame at working size and their (n, 3) mean CIE Lab colours."""
    import cv2

    small = shrink(rgb, WORKING_SIDE)
    pieces = superpixels(small, SUPERPIXELS)
    return pieces, pieces.mean(cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))


def ranking_matrix(pieces: Superpixels, lab: np.ndarray) -> np.ndarray:
    """(D - alpha W)^-1 without its diagonal (Yang et al. Eq. 3): f = A y ranks all nodes for queries y.

    Nodes are connected to their neighbours and their neighbours' neighbours; all nodes on the border of the frame are
    connected to each other.

    Args:
        pieces: The nodes, n of them.
        lab: (n, 3) mean colours in CIE Lab.
    """
    near = np.eye(pieces.count, dtype=np.float32)
    i, j = pieces.edges().T
    near[i, j] = near[j, i] = 1
    joined = near @ near > 0
    border = pieces.border()
    joined[np.ix_(border, border)] = True
    np.fill_diagonal(joined, False)
    distance = pairwise(lab)
    longest = distance[joined].max(initial=1e-9)
    weights = np.where(joined, np.exp(-distance / longest / COLOUR_SPREAD), 0)
    degree = np.maximum(weights.sum(axis=1), 1e-12)
    rank = np.linalg.inv(np.diag(degree) - ALPHA * weights)
    np.fill_diagonal(rank, 0)
    return rank


def pairwise(points: np.ndarray) -> np.ndarray:
    """Pairwise distances (n, n) of points (n, d)."""
    return np.asarray(np.linalg.norm(points[:, None] - points[None], axis=-1))
