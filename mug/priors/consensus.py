"""Consensus of the frames of a video, and thresholds of soft maps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

CHUNK = 100
"""Maximum number of frames processed together: enough for a consensus, few enough to fit in memory."""
COLOUR_SCALE = 15.0
"""Standard deviation of the colour model's Gaussian kernel, as a distance in CIE Lab."""
FEATURES = 300
"""Number of random features that approximate this kernel."""


def chunks(indices: Sequence[int]) -> Iterator[Sequence[int]]:
    """Splits the frame indices into as few runs of similar length as possible, each of at most `CHUNK` frames."""
    count = math.ceil(len(indices) / CHUNK)
    for part in range(count):
        yield indices[len(indices) * part // count : len(indices) * (part + 1) // count]


def by_frame(values: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """Splits the values of the pieces of all frames by frame."""
    return np.split(values, np.cumsum(counts)[:-1])


def colour_model(lab: np.ndarray, soft: np.ndarray, seed: int = 0) -> np.ndarray:
    """Learns from soft maps which colours are foreground in the whole video, and predicts this for each piece.

    Kernel ridge regression with a Gaussian kernel on colour (random Fourier features, Rahimi and Recht 2007). Pieces
    are weighted by their certainty; fore- and background have equal total weight.

    Args:
        lab: (N, 3) CIE Lab colours of the pieces of all frames.
        soft: (N,) in [0, 1], foreground above 0.5.
        seed: Seed of the random features.

    Returns:
        (N,) in [0, 1]; all 1 if the maps contain only foreground or only background.
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
    """Values shifted and scaled to [0, 1]; all 0 if they are equal."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high - low > 1e-9 else np.zeros_like(values, dtype=float)


def scale_top(values: np.ndarray) -> np.ndarray:
    """Non-negative values divided by their 99.5th percentile, robust to outliers, and clipped to [0, 1]."""
    return np.clip(values / max(float(np.percentile(values, 99.5)), 1e-9), 0, 1)


def otsu(values: np.ndarray) -> float:
    """Otsu's threshold for values in [0, 1]."""
    import cv2

    level, _ = cv2.threshold(to_bytes(values).reshape(1, -1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return (float(level) + 0.5) / 255


def adaptive_level(values: np.ndarray) -> float:
    """Twice the mean, the usual adaptive threshold of saliency maps (Achanta et al. 2009)."""
    return min(2 * float(values.mean()), 0.9)


def bend(soft: np.ndarray, level: float) -> np.ndarray:
    """Raises a map in [0, 1] to the power that maps `level` to 0.5."""
    return np.clip(soft, 0, 1) ** (math.log(0.5) / math.log(min(max(level, 0.02), 0.98)))


def to_bytes(soft: np.ndarray) -> np.ndarray:
    """Converts a map in [0, 1] to uint8."""
    return np.rint(np.clip(soft, 0, 1) * 255).astype(np.uint8)
