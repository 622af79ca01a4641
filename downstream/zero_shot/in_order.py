"""The maps of a video at its own size and in order, cut by one threshold for the whole video."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from downstream.zero_shot.cut import CUTS, best_of, expected_overlap
from mug.media.refine import recut
from mug.media.video import Video

Cut = Literal["expected", "half"]
"""Threshold on the maps of a video: that with the highest expected J if the maps are probabilities, or 0.5."""


def in_order(video: Video, maps: Iterable[tuple[int, np.ndarray]], cut: Cut | None) -> Iterator[np.ndarray]:
    """Maps of all frames, in order, shifted so that the threshold for this video is 0.5.

    They are buffered on disk, so memory does not grow with the video.

    Args:
        video: A video of at least one frame.
        maps: Frame number and foreground probability (h, w) float16 of each frame, in any order.
        cut: The threshold; None is 0.5.

    Yields:
        (H, W) float32 in [0, 1] at the original size of the video.
    """
    height, width = video.size
    overlaps = np.zeros(len(CUTS))
    with tempfile.TemporaryFile() as waiting:
        for index, map_hw in maps:
            waiting.seek(index * map_hw.nbytes)
            waiting.write(map_hw.tobytes())
            overlaps += expected_overlap(map_hw)
        threshold = best_of(overlaps) if cut == "expected" else 0.5
        shape, size = map_hw.shape, map_hw.nbytes
        waiting.seek(0)
        for _ in range(len(video)):
            map_hw = np.frombuffer(waiting.read(size), np.float16).reshape(shape).astype(np.float32)
            full_hw = np.clip(cv2.resize(map_hw, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
            yield recut(full_hw, threshold)


def square(frame: np.ndarray, side: int) -> Tensor:
    """Resizes a frame to a square: HWC uint8 -> (3, S, S) uint8."""
    return torch.from_numpy(cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)).permute(2, 0, 1)
