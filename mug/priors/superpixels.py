"""Superpixels of a frame, their mean values and their neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Superpixels:
    """Segmentation of a frame into connected pieces of similar colour.

    Attributes:
        labels: (H, W) int16, the piece of each pixel, 0 to n - 1.
        count: n.
    """

    labels: np.ndarray
    count: int

    @property
    def aspect(self) -> float:
        """Height of the frame over its width."""
        return self.labels.shape[0] / self.labels.shape[1]

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Means of (H, W) or (H, W, C) values over each piece: (n,) or (n, C) float64."""
        flat = self.labels.ravel()
        size = np.bincount(flat, minlength=self.count)
        if values.ndim == 2:
            return np.bincount(flat, values.ravel(), self.count) / size
        sums = [np.bincount(flat, channel.ravel(), self.count) for channel in np.moveaxis(values, -1, 0)]
        return np.stack(sums, axis=1) / size[:, None]

    def centres(self) -> np.ndarray:
        """(n, 2) mean (x, y) of each piece, in [0, 1] across the frame."""
        height, width = self.labels.shape
        x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
        return self.mean(np.stack([x, y], axis=-1))

    def edges(self) -> np.ndarray:
        """(E, 2) unique pairs i < j of adjacent pieces."""
        right = np.stack([self.labels[:, :-1], self.labels[:, 1:]], axis=-1).reshape(-1, 2)
        below = np.stack([self.labels[:-1], self.labels[1:]], axis=-1).reshape(-1, 2)
        pairs = np.concatenate([right, below]).astype(np.int64)
        pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
        codes = np.unique(pairs[:, 0] * self.count + pairs[:, 1])
        return np.stack([codes // self.count, codes % self.count], axis=1)

    def border(self) -> np.ndarray:
        """The pieces that touch a side of the frame."""
        sides = (self.labels[0], self.labels[:, 0], self.labels[-1], self.labels[:, -1])
        return np.unique(np.concatenate(sides))


def superpixels(rgb: np.ndarray, count: int, compactness: float = 10.0, iterations: int = 10) -> Superpixels:
    """Segments a frame into about `count` superpixels with SLIC (Achanta et al. 2012).

    Args:
        rgb: (H, W, 3) uint8.
        count: Desired number of superpixels; small frames get fewer.
        compactness: Weight of position against colour.
        iterations: Iterations of SLIC.
    """
    import cv2

    height, width = rgb.shape[:2]
    side = max(5, round((height * width / max(count, 1)) ** 0.5))
    if min(height, width) < 2 * side:
        return Superpixels(np.zeros((height, width), np.int16), 1)
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    slic = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLIC, side, compactness)
    slic.iterate(iterations)
    slic.enforceLabelConnectivity(25)
    kept, labels = np.unique(slic.getLabels(), return_inverse=True)
    return Superpixels(labels.reshape(height, width).astype(np.int16), len(kept))


def shrink(rgb: np.ndarray, shorter: int) -> np.ndarray:
    """Resizes a frame so that its shorter side has at most `shorter` pixels."""
    import cv2

    height, width = rgb.shape[:2]
    scale = shorter / min(height, width)
    if scale >= 1:
        return rgb
    return cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
