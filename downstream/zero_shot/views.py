"""Input of the readouts for each pixel: colour alone, or colour, position and phi's features."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from downstream.backbones.colour import colours
from downstream.zero_shot.watched import Watched

PLACE_UNIT = 0.25
"""Unit of the position relative to the centre of the evidence, as a share of the frame's height."""


class View:
    """Input of a readout for a stretch: colour alone, or with evidence colour, position and phi's features."""

    def __init__(self, watched: Watched, evidence_thw: np.ndarray | None) -> None:
        self._watched = watched
        self._middles = None if evidence_thw is None else middles(evidence_thw)

    def __len__(self) -> int:
        return len(self._watched.frames)

    def __getitem__(self, t: int) -> np.ndarray:
        """(H, W, C) float32 of frame t."""
        seen = [colours(self._watched.frames[t])]
        if self._middles is not None:
            height, width = seen[0].shape[:2]
            seen.append(places((height, width), self._middles[t]))
            phi = torch.from_numpy(self._watched.phi[t].astype(np.float32)).permute(2, 0, 1)
            seen.append(self._watched.lattice.enlarge(phi[None], (height, width))[0].permute(1, 2, 0).numpy())
        return np.concatenate(seen, -1)


def places(size: tuple[int, int], middle: np.ndarray) -> np.ndarray:
    """(H, W, 5): position in the frame, and position and distance relative to the centre of the evidence."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    dx, dy = ((axis - m) / (PLACE_UNIT * height) for axis, m in zip((x, y), middle, strict=True))
    return np.stack([2 * x / width - 1, 2 * y / height - 1, dx, dy, np.hypot(dx, dy)], -1).astype(np.float32)


def middles(evidence_thw: np.ndarray, spread: float = 3.0) -> np.ndarray:
    """(T, 2): the (x, y) centre of the evidence in each frame, smoothed over `spread` frames."""
    weight = np.square(evidence_thw, dtype=np.float64) + 1e-9
    total = weight.sum((1, 2))
    y, x = (np.arange(n) for n in evidence_thw.shape[1:])
    path = np.stack([weight.sum(1) @ x / total, weight.sum(2) @ y / total], -1)
    steady = cv2.GaussianBlur(path[:, None], (1, 0), 0.1, sigmaY=spread, borderType=cv2.BORDER_REPLICATE)
    return steady.reshape(-1, 2)
