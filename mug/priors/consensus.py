"""What the frames of a video agree on, and where a soft map is cut."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

CHUNK = 100
"""Frames that are looked at together: enough to agree, few enough to be held in memory."""
COLOUR_SCALE = 15.0
"""Distance in CIE Lab over which the colour model changes its mind."""
FEATURES = 300
"""Random features that stand for the model's Gaussian kernel."""


def chunks(indices: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cuts the wanted frames into as few runs of like length as hold no more than `CHUNK` frames."""
    count = math.ceil(len(indices) / CHUNK)
    for part in range(count):
        yield indices[len(indices) * part // count : len(indices) * (part + 1) // count]


def by_frame(values: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """Cuts values of the pieces of all frames into those of each frame."""
    return np.split(values, np.cumsum(counts)[:-1])


def colour_model(lab: np.ndarray, soft: np.ndarray, seed: int = 0) -> np.ndarray:
    """Learns from soft maps which colours are foreground over the whole video, and says so for each piece.

    Kernel ridge regression with a Gaussian kernel on colour (random Fourier features, Rahimi and Recht 2007). Pieces
    count by how sure they are, and fore- and background count the same in sum.

    Args:
        lab: (N, 3) CIE Lab colours of the pieces of all frames.
        soft: (N,) in [0, 1], foreground above 0.5.
        seed: Of the random features.

    Returns:
        (N,) in [0, 1]; all 1 where the maps know only one of the two.
    """
    rng = np.random.default_rng(seed)
    frequency = rng.standard_normal((3, FEATURES)).astype(np.float32) / COLOUR_SCALE
    phase = rng.uniform(0, 2 * np.pi, FEATURES).astype(np.float32)
    features = np.sqrt(2 / FEATURES) * np.cos(lab.astype(np.float32) @ frequency + phase)
    features = np.concatenate([features, np.ones((len(lab), 1), np.float32)], axis=1)
    fore = soft > 0.5
    if fore.all() or not fore.any():
        return np.ones(len(lab))
    weight = 2 * np.abs(soft - 0.5) + 0.05
    weight *= np.where(fore, 0.5 / weight[fore].sum(), 0.5 / weight[~fore].sum())
    weighted = features * weight[:, None].astype(np.float32)
    normal = (weighted.T @ features).astype(np.float64) + 1e-3 * np.eye(FEATURES + 1)
    return np.clip(features @ np.linalg.solve(normal, weighted.T.astype(np.float64) @ fore), 0, 1)


def unit_range(values: np.ndarray) -> np.ndarray:
    """Values moved and scaled to [0, 1]; all 0 where they are all alike."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high - low > 1e-9 else np.zeros_like(values, dtype=float)


def scale_top(values: np.ndarray) -> np.ndarray:
    """Values of at least 0 scaled to [0, 1] by their almost highest, so that one stray piece does not set the scale."""
    return np.clip(values / max(float(np.percentile(values, 99.5)), 1e-9), 0, 1)


def otsu(values: np.ndarray) -> float:
    """Otsu's threshold of values in [0, 1]."""
    import cv2

    level, _ = cv2.threshold(to_bytes(values).reshape(1, -1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return (float(level) + 0.5) / 255


def adaptive_level(values: np.ndarray) -> float:
    """Twice the mean, the usual adaptive threshold of saliency maps (Achanta et al. 2009)."""
    return min(2 * float(values.mean()), 0.9)


def bend(soft: np.ndarray, level: float) -> np.ndarray:
    """A map in [0, 1] bent by a power so that `level` comes to lie at 0.5."""
    return np.clip(soft, 0, 1) ** (math.log(0.5) / math.log(min(max(level, 0.02), 0.98)))


def to_bytes(soft: np.ndarray) -> np.ndarray:
    """A map in [0, 1] as uint8."""
    return np.rint(np.clip(soft, 0, 1) * 255).astype(np.uint8)
