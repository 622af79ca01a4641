"""Z-VOS by O-VOS: the mask of the most confident frame is propagated through the video, with all maps as evidence.

Per-frame maps do not exploit feature similarity between frames. Matching does: it propagates the mask of the most
confident frame to all others and combines it with their own maps on the way.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from downstream.backbones.features import Extractor
from downstream.one_shot.motion import Motion
from downstream.one_shot.propagator import Propagator
from downstream.one_shot.protocols import PropagationConfig
from mug.priors.consensus import to_bytes

OWN = 2 / 3
"""Weight of the log odds of a frame's own map in the result; the rest is the weight of the propagated labels."""
CERTAINTY = 0.01
"""Probabilities are clipped to [CERTAINTY, 1 - CERTAINTY] before their log odds are added."""


def carry_surest(
    frames: Sequence[np.ndarray],
    maps_thw: np.ndarray,
    extract: Extractor,
    config: PropagationConfig,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Propagates the mask of the most confident frame forwards and backwards, and combines the result with the maps.

    Args:
        frames: T frames, HWC uint8 RGB.
        maps_thw: (T, H, W) foreground probability, at any size.
        extract: Feature extractor for matching.
        config: Propagation protocol, evidence included.
        device: Device of features and labels.

    Returns:
        (T, H, W) float32 foreground probability at the size of the maps; the maps themselves if the most confident
            frame has no foreground.
    """
    key = surest(maps_thw)
    mask = (_resized(maps_thw[key], frames[key].shape[:2]) > 0.5).astype(np.uint8)
    joined = np.array(maps_thw, np.float32)
    if not mask.any():
        return joined
    for order in (range(key, len(frames)), range(key, -1, -1)):
        propagator = Propagator(extract, config, device, _replayed(maps_thw, order))
        propagator.step(frames[key], mask)
        for t in order[1:]:
            propagator.step(frames[t])
            carried = propagator.likely(maps_thw.shape[1:])[1].cpu().numpy()
            odds = OWN * _log_odds(maps_thw[t]) + (1 - OWN) * _log_odds(carried)
            joined[t] = 1 / (1 + np.exp(-odds))
    return joined


def surest(maps_thw: np.ndarray) -> int:
    """The frame whose map, thresholded at one half, has the highest expected J.

    If maps are probabilities, the expected J of a mask is about the sum of probabilities inside it, divided by its area
    plus the sum outside (Lipton, Elkan and Naryanaswamy 2014, for F).

    >>> surest(np.array([[[0.6, 0.4]], [[0.9, 0.1]], [[0.5, 0.1]]]))
    1
    """
    inside = maps_thw > 0.5
    within = np.where(inside, maps_thw, 0).sum((1, 2))
    beyond = np.where(inside, 0, maps_thw).sum((1, 2))
    return int(np.argmax(within / np.maximum(inside.sum((1, 2)) + beyond, 1e-9)))


def _replayed(maps_thw: np.ndarray, order: Sequence[int]) -> Motion:
    maps = iter(order)
    return lambda frame: to_bytes(maps_thw[next(maps)])


def _resized(map_hw: np.ndarray, size: Sequence[int]) -> np.ndarray:
    return np.asarray(cv2.resize(map_hw, (size[1], size[0]), interpolation=cv2.INTER_LINEAR))


def _log_odds(p: np.ndarray) -> np.ndarray:
    held = np.clip(p, CERTAINTY, 1 - CERTAINTY)
    return np.asarray(np.log(held / (1 - held)))
