"""Appearance of the objects of a video by A-GAME's generative model, on colour and features, without its network."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from downstream.backbones.colour import colours
from downstream.backbones.lattice import EVEN, Lattice
from downstream.one_shot.aggregate import aggregate
from downstream.one_shot.appearance import LEARNED, STRIDE, sampled
from downstream.one_shot.gaussians import Gaussians, fit, log_odds, log_scores

FLOOR = 0.1
"""r, as a share of each feature's variance over the first frame with a given mask. A-GAME's network learns it."""
UNSEEN = 0.01
"""Lower bound on probabilities."""
TEMPERATURES = 2.0 ** np.arange(0, 9)
"""Candidates for the temperature of the log odds."""


class GaussianAppearance:
    """Four Gaussians for each object and its background, from its given mask.

    Features that are not learned for it are not independent, so that the odds of a diagonal model are far too sure.
    They are tempered: the temperature is that with the smallest cross-entropy on the given mask. A-GAME's update is
    left out: with no network that is trained to use it, results teach the model its own errors.
    """

    weight = 0.1
    """Of the result in the log odds. Chosen on the videos of `benchmarks/evidence.py`."""

    def __init__(self) -> None:
        self._models: dict[int, Gaussians] = {}
        """By label."""
        self._floor: Tensor | None = None
        self._temperature = 1.0

    def look(self, small: np.ndarray, features_chw: Tensor, over: Lattice = EVEN) -> np.ndarray:
        """Looks (h', w', C) of a frame (H, W, 3) uint8 with features (C - 9, h, w), every `STRIDE` pixels.

        `over` gives the position of the feature cells.
        """
        colour = sampled(colours(small).transpose(2, 0, 1), STRIDE).transpose(1, 2, 0)
        size = colour.shape[:2]
        features = over.enlarge(features_chw[None].float().cpu(), size)[0].permute(1, 2, 0).numpy()
        return np.concatenate([features, colour], -1)

    def learn(self, looks: np.ndarray, labels_lhw: np.ndarray, given: Sequence[int]) -> None:
        """Fits the models of the objects of a given mask.

        Args:
            looks: Result of `look`.
            labels_lhw: (L, H, W) shares at working size; what is void belongs to none.
            given: The labels, except for background, that the mask shows; without any, nothing is learned.
        """
        if not given:
            return
        x = torch.from_numpy(sampled(looks.transpose(2, 0, 1), LEARNED)).flatten(1)[None]
        y = torch.from_numpy(sampled(sampled(labels_lhw, STRIDE), LEARNED)).flatten(1)
        known = y.sum(0, keepdim=True)
        if self._floor is None:
            self._floor = (FLOOR * x[0].var(1)).clamp_min(1e-6).expand(4, -1)
        for label in given:
            self._models[label] = fit(x, y[label : label + 1], self._floor, known)
        odds = torch.cat([log_odds(log_scores(x, self._models[label])) for label in given])
        self._temperature = suited_temperature(odds, y[list(given)], known)

    def read(self, looks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(L, H, W) float32: `likely` as logarithms, at least log `UNSEEN`, which speaks against a hidden object."""
        return np.log(np.maximum(self.likely(looks, size), UNSEEN))

    def likely(self, looks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(L, H, W) float32 in [0, 1]: the probability of each label at each pixel by its looks; they sum to 1."""
        x = torch.from_numpy(looks).flatten(0, 1).T[None]
        odds = torch.cat([log_odds(log_scores(x, self._models[label])) for label in sorted(self._models)])
        likely = aggregate(odds / self._temperature).T.numpy().reshape(*looks.shape[:2], -1)
        grown = cv2.resize(likely, size[::-1], interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(grown.transpose(2, 0, 1))


def suited_temperature(odds_mp: Tensor, y_mp: Tensor, known_1p: Tensor) -> float:
    """The candidate with the smallest cross-entropy of log odds (M, P) with masks, object and background alike."""
    weight = y_mp / y_mp.sum(1, keepdim=True).clamp_min(1), (known_1p - y_mp)
    weight = weight[0], weight[1] / weight[1].sum(1, keepdim=True).clamp_min(1)
    losses = [(weight[0] * softplus(-odds_mp / t) + weight[1] * softplus(odds_mp / t)).sum() for t in TEMPERATURES]
    return float(TEMPERATURES[int(torch.stack(losses).argmin())])
