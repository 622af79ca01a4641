"""What the objects of a video look like: a readout of colour and features, fitted in closed form, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from downstream.backbones.colour import colours
from downstream.backbones.lattice import EVEN, Lattice

STRIDE = 2
"""Pixels at working size between those that are looked at."""
LEARNED = 2
"""Of so many looks across and down one is learned from."""
RANDOM_FEATURES = 200
"""Random features that stand for a Gaussian kernel on colour (Rahimi and Recht 2007)."""
BANDWIDTH = 0.7
"""Of that kernel, over its nine values of about unit spread."""
RIDGE = 0.01
"""Of the fit, as a share of the mean diagonal."""
FORGET = 0.9
"""What is kept, from frame to frame, of frames without a given mask."""
FEWEST = 20.0
"""Pixels below which a label does not get its full share of the fit."""


class Appearance:
    """Ridge regression of labels on looks: masks given count one half for good, what was found since the other half.

    The state is a (C, C) and a (C, L) matrix, however long the video. Every label counts the same, whatever its area.
    """

    def __init__(self, seed: int = 0) -> None:
        from sklearn.kernel_approximation import RBFSampler

        kernel = RBFSampler(gamma=1 / (2 * BANDWIDTH**2), n_components=RANDOM_FEATURES, random_state=seed)
        self._kernel = kernel.fit(np.zeros((1, 9), np.float32))  # of which only the shape and the type count
        nothing = _Moments(np.zeros((1, 1), np.float32), np.zeros((1, 0), np.float32))
        self._given, self._found = nothing, nothing
        self._weights: np.ndarray | None = None

    def look(self, small: np.ndarray, features_chw: Tensor, over: Lattice = EVEN) -> np.ndarray:
        """(h', w', C) looks of a frame (H, W, 3) uint8 and its features (C, h, w), every `STRIDE` pixels.

        The cells of the features lie as `over` says.
        """
        colour = sampled(colours(small).transpose(2, 0, 1), STRIDE).transpose(1, 2, 0)
        rows, columns = colour.shape[:2]
        kernel = self._kernel.transform(colour.reshape(-1, colour.shape[-1])).reshape(rows, columns, -1)
        features = over.enlarge(features_chw[None].float().cpu(), (rows, columns))[0].permute(1, 2, 0).numpy()
        return np.concatenate([kernel, features, np.ones((rows, columns, 1), np.float32)], -1)

    def learn(self, looks: np.ndarray, labels_lhw: np.ndarray, given: bool) -> None:
        """Learns from a frame.

        Args:
            looks: What `look` gave.
            labels_lhw: (L, H, W) probabilities at working size; a pixel counts by how far its best label is ahead.
            given: Whether a mask was given, or these were found.
        """
        labels, looks = sampled(sampled(labels_lhw, STRIDE), LEARNED), sampled(looks.transpose(2, 0, 1), LEARNED)
        labels = labels.reshape(len(labels), -1)
        best = labels.argmax(0)
        ordered = np.sort(labels, 0)
        sure = (ordered[-1] - ordered[-2]).astype(np.float32)
        mass = np.bincount(best, sure, len(labels))
        weight = sure / np.maximum(mass, FEWEST)[best].astype(np.float32)
        x = looks.reshape(len(looks), -1).T
        weighted = x * weight[:, None]
        y = np.eye(len(labels), dtype=np.float32)[best]
        gram, answer = weighted.T @ x, weighted.T @ y
        if given:
            self._given = _Moments(gram, answer) + self._given
        else:
            self._found = self._found * FORGET + _Moments(gram, answer) * (1 - FORGET)
        self._fit()

    def read(self, looks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(L, H, W) float32 in [0, 1]: how much each pixel looks like each label."""
        assert self._weights is not None
        read = np.clip(looks @ self._weights, 0, 1)
        grown = cv2.resize(read, size[::-1], interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(grown.transpose(2, 0, 1))

    def _fit(self) -> None:
        both = self._given + self._found
        ridge = max(RIDGE * float(np.trace(both.gram)) / len(both.gram), 1e-6)  # above 0 where all was void
        self._weights = np.linalg.solve(both.gram + ridge * np.eye(len(both.gram), dtype=np.float32), both.answer)


def sampled(maps_chw: np.ndarray, stride: int) -> np.ndarray:
    """(C, H, W) -> (C, h, w): one position of every `stride` across and down, near the middle of its cell."""
    return maps_chw[:, stride // 2 :: stride, stride // 2 :: stride]


@dataclass(frozen=True)
class _Moments:
    """Weighted second moments of looks, (C, C), and of looks with labels, (C, L); missing labels count as zero."""

    gram: np.ndarray
    answer: np.ndarray

    def __add__(self, other: _Moments) -> _Moments:
        short = other.answer.shape[1] - self.answer.shape[1]
        mine, theirs = (np.pad(m.answer, ((0, 0), (0, max(n, 0)))) for m, n in ((self, short), (other, -short)))
        return _Moments(self.gram + other.gram, mine + theirs)

    def __mul__(self, factor: float) -> _Moments:
        return _Moments(self.gram * np.float32(factor), self.answer * np.float32(factor))
