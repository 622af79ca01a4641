"""A drawn video with a noisy prior, as the adapted mode meets one."""

from __future__ import annotations

import numpy as np

from downstream.backbones.lattice import EVEN
from downstream.zero_shot.watched import Watched


def overlap(maps: np.ndarray, truth: np.ndarray) -> float:
    found = maps > 0.5
    return float((found & truth).sum() / (found | truth).sum())


def noisy_video(rng: np.random.Generator, frames: int = 12) -> tuple[Watched, np.ndarray]:
    """A red square on grey that moves 2 px a frame, and a prior that misses half of it and fires elsewhere."""
    size = (48, 72)
    pictures = rng.integers(100, 130, (frames, *size, 3), dtype=np.uint8)
    truth = np.zeros((frames, *size), bool)
    for t in range(frames):
        truth[t, 12:32, 10 + 2 * t : 30 + 2 * t] = True
    pictures[truth] = rng.integers((200, 40, 40), (220, 60, 60), (int(truth.sum()), 3))
    blocks = rng.random((frames, 6, 9)).repeat(8, 1).repeat(8, 2)
    prior = np.where(truth, np.where(blocks < 0.6, 0.9, 0.1), np.where(blocks < 0.15, 0.9, 0.1)).astype(np.float32)
    ahead = np.zeros((frames - 1, *size, 2), np.float16)
    ahead[truth[:-1]] = (2, 0)
    back = np.zeros_like(ahead)
    back[truth[1:]] = (-2, 0)
    phi = rng.normal(size=(frames, 6, 9, 4)).astype(np.float16)
    return Watched(pictures, prior, ahead, back, phi, EVEN), truth
