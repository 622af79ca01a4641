"""Carries evidence along the optical flow, so that neighbouring frames fill in what a frame misses."""

from __future__ import annotations

import cv2
import numpy as np

AGREEMENT_PX = 1.0
"""Scale of the forward-backward flow error, in pixels at phi's input size."""


class Flow:
    """Optical flow through a stretch of T frames, with its reliability.

    Args:
        ahead: (T - 1, H, W, 2) flow in pixels from each frame to the next.
        back: (T - 1, H, W, 2) flow in pixels from each frame but the first to the previous one.
    """

    def __init__(self, ahead: np.ndarray, back: np.ndarray) -> None:
        self._ahead, self._back = ahead, back
        pairs = list(zip(self._ahead, self._back, strict=True))
        self._sure_ahead = [agreement(ahead, back) for ahead, back in pairs]
        self._sure_back = [agreement(back, ahead) for ahead, back in pairs]

    def carry(self, map_thw: np.ndarray, fresh: float) -> np.ndarray:
        """Averages maps along the flow; weights decay by 1 - `fresh` per frame, faster where flows disagree."""
        frames = range(len(map_thw))
        past = _sweep(map_thw, frames, self._back, self._sure_back, -1, 1 - fresh)
        future = _sweep(map_thw, frames[::-1], self._ahead, self._sure_ahead, 0, 1 - fresh)
        carried = [(a + b - m) / (v + w - 1) for m, (a, v), (b, w) in zip(map_thw, past, future[::-1], strict=True)]
        return np.stack(carried)


def _sweep(
    map_thw: np.ndarray, order: range, flows: np.ndarray, sure: list[np.ndarray], shift: int, decay: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weighted sums and weights in `order`; the flow from frame t to its predecessor in the order is at t + shift."""
    sums: list[tuple[np.ndarray, np.ndarray]] = []
    for t in order:
        total, weight = map_thw[t], np.ones_like(map_thw[t])
        if sums:
            kept = decay * sure[t + shift]
            total = total + kept * warp(sums[-1][0], flows[t + shift])
            weight = weight + kept * warp(sums[-1][1], flows[t + shift])
        sums.append((total, weight))
    return sums


def agreement(flow_hw2: np.ndarray, back_hw2: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1]: forward-backward consistency of the flow, on the scale of AGREEMENT_PX."""
    there = flow_hw2.astype(np.float32)
    returned = warp(back_hw2.astype(np.float32), there)
    return np.exp(-np.square(there + returned).sum(-1) / AGREEMENT_PX**2)


def warp(map_hw: np.ndarray, flow_hw2: np.ndarray) -> np.ndarray:
    """Warps a map (H, W) or (H, W, C) of another frame to this one along this frame's flow (px)."""
    height, width = map_hw.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + flow_hw2[..., 0], y + flow_hw2[..., 1]
    return cv2.remap(map_hw, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def optical_flow(grey: list[np.ndarray], other: list[np.ndarray]) -> np.ndarray:
    """Optical flow in pixels from grey frames to others, (T, H, W, 2) float16; (0, 1, 1, 2) without frames."""
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    fields = [_flow(method, a, b) for a, b in zip(grey, other, strict=True)]
    return np.stack(fields) if fields else np.zeros((0, 1, 1, 2), np.float16)


def _flow(method: cv2.DISOpticalFlow, grey: np.ndarray, other: np.ndarray) -> np.ndarray:
    if min(grey.shape) < 16:  # too small for the coarsest level of the method
        return np.zeros((*grey.shape, 2), np.float16)
    return method.calc(grey, other, np.zeros((*grey.shape, 2), np.float32)).astype(np.float16)
