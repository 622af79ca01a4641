"""Appearance model of the objects of a video: a linear readout of colour and features, fitted in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from downstream.backbones.colour import colours
from downstream.backbones.lattice import EVEN, Lattice

STRIDE = 2
"""Sampling stride in pixels at working size."""
LEARNED = 2
"""Further sampling stride for learning, in samples."""
RANDOM_FEATURES = 200
"""Number of random features that approximate a Gaussian kernel on colour (Rahimi and Recht 2007)."""
BANDWIDTH = 0.7
"""Bandwidth of that kernel on the nine colour values of about unit spread."""
RIDGE = 0.01
"""Ridge parameter, as a share of the mean diagonal."""
FORGET = 0.9
"""Decay per frame of the moments of frames without a given mask."""
FEWEST = 20.0
"""Pixels below which a label gets less than its full weight in the fit."""


class Appearance:
    """Ridge regression of labels on looks: given masks keep half of the weight, results since then have the other half.

    Looks are the input features of the regression. The state is a (C, C) and a (C, L) matrix, whatever the length of
    the video. All labels have equal weight, whatever their area.
    """

    weight = 0.4
    """Of the result, which is in [0, 1], in the log odds."""

    def __init__(self, seed: int = 0) -> None:
        from sklearn.kernel_approximation import RBFSampler

        kernel = RBFSampler(gamma=1 / (2 * BANDWIDTH**2), n_components=RANDOM_FEATURES, random_state=seed)
        self._kernel = kernel.fit(np.zeros((1, 9), np.float32))  # only shape and type matter
        nothing = _Moments(np.zeros((1, 1), np.float32), np.zeros((1, 0), np.float32))
        self._given, self._found = nothing, nothing
        self._weights: np.ndarray | None = None

    def look(self, small: np.ndarray, features_chw: Tensor, over: Lattice = EVEN) -> np.ndarray:
        """Looks (h', w', C) of a frame (H, W, 3) uint8 with features (C, h, w), every `STRIDE` pixels.

        `over` gives the position of the feature cells.
        """
        colour = sampled(colours(small).transpose(2, 0, 1), STRIDE).transpose(1, 2, 0)
        rows, columns = colour.shape[:2]
        kernel = self._kernel.transform(colour.reshape(-1, colour.shape[-1])).reshape(rows, columns, -1)
        features = over.enlarge(features_chw[None].float().cpu(), (rows, columns))[0].permute(1, 2, 0).numpy()
        return np.concatenate([kernel, features, np.ones((rows, columns, 1), np.float32)], -1)

    def learn(self, looks: np.ndarray, labels_lhw: np.ndarray, given: Sequence[int]) -> None:
        """Updates the fit with a frame.

        Args:
            looks: Result of `look`.
            labels_lhw: (L, H, W) probabilities at working size; each pixel is weighted by the margin of its best label.
            given: The labels, except for background, that a given mask of this frame shows; none if it has no mask.
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
        """(L, H, W) float32 in [0, 1]: the score of each label at each pixel."""
        assert self._weights is not None
        read = np.clip(looks @ self._weights, 0, 1)
        grown = cv2.resize(read, size[::-1], interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(grown.transpose(2, 0, 1))

    def _fit(self) -> None:
        both = self._given + self._found
        ridge = max(RIDGE * float(np.trace(both.gram)) / len(both.gram), 1e-6)  # above 0 even if everything was void
        self._weights = np.linalg.solve(both.gram + ridge * np.eye(len(both.gram), dtype=np.float32), both.answer)


def sampled(maps_chw: np.ndarray, stride: int) -> np.ndarray:
    """(C, H, W) -> (C, h, w): every `stride`-th position in x and y, near the middle of its cell."""
    return maps_chw[:, stride // 2 :: stride, stride // 2 :: stride]


@dataclass(frozen=True)
class _Moments:
    """Weighted second moments of looks, (C, C), and of looks with labels, (C, L); missing labels are zero."""

    gram: np.ndarray
    answer: np.ndarray

    def __add__(self, other: _Moments) -> _Moments:
        short = other.answer.shape[1] - self.answer.shape[1]
        mine, theirs = (np.pad(m.answer, ((0, 0), (0, max(n, 0)))) for m, n in ((self, short), (other, -short)))
        return _Moments(self.gram + other.gram, mine + theirs)

    def __mul__(self, factor: float) -> _Moments:
        return _Moments(self.gram * np.float32(factor), self.answer * np.float32(factor))
