"""Foreground by motion: what moves unlike the camera, joined with saliency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mug.priors.saliency import centre_threshold, manifold_ranking, shrink, to_bytes
from mug.video import Video

SALIENCY_FLOOR = 0.3
"""What motion counts where nothing is salient."""
STILL = 0.1
"""Residual motion, in pixels a frame at working size, below which a frame is held for still."""


def motion_prior(video: Video, indices: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Soft foreground maps from motion and saliency, HW uint8 at the video's size.

    Where nothing moves, as in videos of one frame, saliency alone decides.

    Args:
        video: The video.
        indices: Frames that maps are wanted of; all when not given.
    """
    import cv2

    height, width = video.size
    for index in range(len(video)) if indices is None else indices:
        frame = shrink(video[index])
        saliency = manifold_ranking(frame)
        near = [i for i in (index - 1, index + 1) if 0 <= i < len(video)]
        motion = residual_motion(frame, [shrink(video[i]) for i in near])
        soft = saliency if motion is None else motion * (SALIENCY_FLOOR + saliency) / (SALIENCY_FLOOR + 1)
        soft = cv2.resize(centre_threshold(soft), (width, height), interpolation=cv2.INTER_LINEAR)
        yield to_bytes(soft)


def residual_motion(frame: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray | None:
    """Motion against the background, smallest over the other frames so that what is covered in one does not count.

    Args:
        frame: (H, W, 3) uint8 RGB.
        others: Frames beside it, of the same size.

    Returns:
        (H, W) float32 in [0, 1], or None where nothing moves.
    """
    import cv2

    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow.setFinestScale(0)  # at full resolution: the outlines of what moves are worth several points
    grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (frame, *others)]
    if not others or min(grey[0].shape) < 16:
        return None
    speeds = [
        np.linalg.norm(without_camera(flow.calc(grey[0], other, np.zeros((*other.shape, 2), np.float32))), axis=-1)
        for other in grey[1:]
    ]
    speed = np.min(speeds, axis=0)
    fastest = float(np.percentile(speed, 99))
    return np.minimum(speed / fastest, 1).astype(np.float32) if fastest > STILL else None


def without_camera(flow: np.ndarray, step: int = 8) -> np.ndarray:
    """Flow less that of the background, a homography fitted robustly to a grid of the flow.

    Args:
        flow: (H, W, 2) float32 in pixels.
        step: Pixels between the points of the grid.
    """
    import cv2

    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in flow.shape[1::-1])), axis=-1)
    points = grid[step // 2 :: step, step // 2 :: step].reshape(-1, 1, 2)
    moved = points + flow[step // 2 :: step, step // 2 :: step].reshape(-1, 1, 2)
    cv2.setRNGSeed(0)
    homography, _ = cv2.findHomography(points, moved, cv2.RANSAC, 1.0, maxIters=500)
    if homography is None:
        return flow
    return flow - (cv2.perspectiveTransform(grid, homography) - grid)
