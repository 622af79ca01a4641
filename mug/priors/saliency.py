"""Saliency of frames by contrast and manifold ranking, made consistent over the video by colour; not in the paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mug.media.video import Video
from mug.priors.consensus import (
    adaptive_level,
    bend,
    by_frame,
    chunks,
    colour_model,
    otsu,
    scale_top,
    to_bytes,
    unit_range,
)
from mug.priors.manifold_ranking import cut_frame, pairwise, ranking_matrix
from mug.priors.superpixels import Superpixels

LIKE_COLOUR = 10.0
"""Distance in CIE Lab within which colours count as one region (sigma_clr of Zhu et al.)."""
NEARBY = 0.25
"""Spatial scale of the contrast as a share of the frame's width (sigma_spa of Zhu et al.)."""
CENTRE = 0.25
"""Standard deviation of the centre prior as a share of the frame's sides."""


def saliency_prior(video: Video, indices: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Soft foreground maps without motion, HW uint8 at the video's size; 0.5 is twice the mean, the adaptive threshold.

    A colour model of the whole video is learned from the saliency of all frames; it suppresses what is salient only
    occasionally.

    Args:
        video: The video.
        indices: Frames to compute maps for; None for all.
    """
    import cv2

    height, width = video.size
    for chunk in chunks(range(len(video)) if indices is None else indices):
        cuts, colours, salient = [], [], []
        for index in chunk:
            pieces, lab = cut_frame(video[index])
            cuts.append(pieces)
            colours.append(lab)
            salient.append(rank_superpixels(pieces, lab) * centre_prior(pieces))
        seeds = np.concatenate([bend(soft, adaptive_level(soft)) for soft in map(scale_top, salient)])
        model = colour_model(np.concatenate(colours), seeds)
        for pieces, soft, like in zip(cuts, salient, by_frame(model, [p.count for p in cuts]), strict=True):
            agreed = scale_top(soft * like)
            small = bend(agreed, adaptive_level(agreed))[pieces.labels].astype(np.float32)
            yield to_bytes(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def saliency(rgb: np.ndarray) -> np.ndarray:
    """Saliency of a single frame: (H, W, 3) uint8 -> float32 in [0, 1] at working size."""
    pieces, lab = cut_frame(rgb)
    return rank_superpixels(pieces, lab)[pieces.labels].astype(np.float32)


def rank_superpixels(pieces: Superpixels, lab: np.ndarray) -> np.ndarray:
    """Saliency of superpixels: contrast to the background, then ranking by similarity to what stands out from it.

    The second stage is that of `mug.priors.manifold_ranking`, with queries weighted by their contrast. In the first,
    the background is found by the boundary connectivity of Zhu et al. (CVPR 2014) instead of ranking for each side of
    the frame, because in video the object often touches a side.

    Args:
        pieces: The n superpixels of a frame.
        lab: (n, 3) mean colours in CIE Lab.

    Returns:
        (n,) in [0, 1].
    """
    stands_out = unit_range(contrast(pieces, lab, background(pieces, lab)) * centre_prior(pieces))
    queries = np.where(stands_out > otsu(stands_out), stands_out, 0)
    return unit_range(ranking_matrix(pieces, lab) @ queries)


def background(pieces: Superpixels, lab: np.ndarray) -> np.ndarray:
    """Background probability of superpixels from their regions' boundary connectivity (Zhu et al. Eq. 4 to 6).

    Returns:
        (n,) in [0, 1].
    """
    from scipy.sparse.csgraph import floyd_warshall

    border = pieces.border()
    step = np.full((pieces.count, pieces.count), np.inf)
    distance = pairwise(lab)
    i, j = pieces.edges().T
    step[i, j] = step[j, i] = distance[i, j]
    step[np.ix_(border, border)] = distance[np.ix_(border, border)]
    np.fill_diagonal(step, np.inf)
    nearest = step.min(axis=1)
    # the typical step inside a region costs nothing, so that shading does not add up
    free = nearest[np.isfinite(nearest)].mean() if np.isfinite(nearest).any() else 0.0
    step = np.maximum(step - free, 1e-6)
    np.fill_diagonal(step, 0)
    region = np.exp(-(floyd_warshall(step, directed=False) ** 2) / (2 * LIKE_COLOUR**2))
    leaning = region[:, border].sum(axis=1) / np.sqrt(region.sum(axis=1))
    return 1 - np.exp(-(leaning**2) / 2)


def contrast(pieces: Superpixels, lab: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Contrast to background (Zhu et al. Eq. 8), smoothed by their least-squares optimisation (Eq. 9).

    Returns:
        (n,) in [0, 1].
    """
    distance = pairwise(lab)
    reach = np.exp(-((pairwise(pieces.centres() * [1, pieces.aspect]) / NEARBY) ** 2) / 2)
    local = unit_range((distance * reach) @ back)
    object_weight = np.where(local < otsu(local), 0, local)
    back_weight = 5 * back
    back_weight[pieces.border()] = 5000
    i, j = pieces.edges().T
    smooth = np.zeros_like(distance)
    smooth[i, j] = smooth[j, i] = np.exp(-(distance[i, j] ** 2) / (2 * LIKE_COLOUR**2)) + 0.1
    laplacian = np.diag(smooth.sum(axis=1)) - smooth
    return unit_range(np.linalg.solve(laplacian + np.diag(back_weight + object_weight), object_weight))


def centre_prior(pieces: Superpixels) -> np.ndarray:
    """(n,) in [0, 1]: highest at the centre of the frame, where filmed objects usually are."""
    return np.exp(-(((pieces.centres() - 0.5) / CENTRE) ** 2).sum(axis=1) / 2)
