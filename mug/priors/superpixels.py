"""Superpixels of a frame, their means and their neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Superpixels:
    """SLIC superpixels of one frame (Achanta et al. 2012).

    Attributes:
        labels: (H, W) int32, the superpixel of each pixel, 0 to n - 1.
        count: n.
    """

    labels: np.ndarray
    count: int

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Means of (H, W) or (H, W, C) values over each superpixel: (n,) or (n, C) float64."""
        flat = self.labels.ravel()
        size = np.bincount(flat, minlength=self.count)
        if values.ndim == 2:
            return np.bincount(flat, values.ravel(), self.count) / size
        return (
            np.stack([np.bincount(flat, v.ravel(), self.count) for v in np.moveaxis(values, -1, 0)], axis=1)
            / size[:, None]
        )

    def edges(self) -> np.ndarray:
        """(E, 2) pairs i < j of superpixels that touch, each once."""
        right = np.stack([self.labels[:, :-1], self.labels[:, 1:]], -1).reshape(-1, 2)
        below = np.stack([self.labels[:-1], self.labels[1:]], -1).reshape(-1, 2)
        pairs = np.concatenate([right, below])
        pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1).astype(np.int64)
        codes = np.unique(pairs[:, 0] * self.count + pairs[:, 1])
        return np.stack([codes // self.count, codes % self.count], axis=1)

    def sides(self) -> list[np.ndarray]:
        """Superpixels on the top, left, bottom and right side of the frame."""
        return [np.unique(side) for side in (self.labels[0], self.labels[:, 0], self.labels[-1], self.labels[:, -1])]


def superpixels(lab: np.ndarray, count: int, compactness: float = 10.0, iterations: int = 10) -> Superpixels:
    """Cuts a frame into about `count` superpixels.

    Args:
        lab: (H, W, 3) uint8 CIE Lab, as OpenCV scales it.
        count: How many superpixels are wanted; fewer are made of a frame too small for them.
        compactness: Weight of place against colour.
        iterations: Rounds of SLIC.
    """
    import cv2

    height, width = lab.shape[:2]
    side = max(2, round((height * width / count) ** 0.5))
    if min(height, width) <= side:
        return Superpixels(np.zeros((height, width), np.int32), 1)
    slic = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLIC, side, compactness)
    slic.iterate(iterations)
    slic.enforceLabelConnectivity(25)
    kept, labels = np.unique(slic.getLabels(), return_inverse=True)
    return Superpixels(labels.reshape(height, width).astype(np.int32), len(kept))
