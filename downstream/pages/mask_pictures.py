"""Pictures of masks over their frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from downstream.data.kinds import open_videos
from mug.errors import InputError
from mug.media.masks import read_mask, read_soft
from mug.media.overlay import blend
from mug.media.video import Video

OVERLAY_WIDTH = 360
"""Approximate minimum width of an overlay in pixels; smaller frames are enlarged."""
FRAMES = 4
"""Frames shown per sequence, evenly spread."""


def mask_picture(path: Path, frame: str, video: Video | None, threshold: float | None = None) -> np.ndarray:
    """A mask drawn over its frame, or over black if the frame is not available, HWC uint8 RGB.

    Args:
        path: A mask, or a soft map if `threshold` is given.
        frame: Name of its frame.
        video: The video with the frame.
        threshold: Share of 255 above which a soft map is foreground.

    Raises:
        InputError: the mask or frame cannot be read, or they differ in size.
    """
    return over_frame(read_result(path, threshold), path, frame, video)


def read_result(path: Path, threshold: float | None = None) -> np.ndarray:
    """A mask, HW uint8 ids, or a soft map as one: 1 above the threshold, a share of 255.

    Raises:
        InputError: it cannot be read.
    """
    return read_mask(path) if threshold is None else (read_soft(path) > threshold * 255).astype(np.uint8)


def over_frame(mask: np.ndarray, path: Path, frame: str, video: Video | None) -> np.ndarray:
    """The same for a mask (HW uint8) already read from `path`."""
    if video is None or frame not in video.frame_names:
        return blend(np.zeros((*mask.shape, 3), np.uint8), mask, 1.0)
    image = video[list(video.frame_names).index(frame)]
    if image.shape[:2] != mask.shape:
        raise InputError(f"{path}: is not of its frame's size; give the videos it was made of with --videos")
    return outlined(image, mask)


def outlined(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A frame with its objects tinted and outlined in white; small frames are enlarged so that the outline is thin."""
    scale = max(1, round(OVERLAY_WIDTH / frame.shape[1]))
    frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    mask = cv2.resize(mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    out = blend(frame, mask, 0.4)
    out[cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0] = 255
    return out


def videos_by_name(path: Path | None, scored: Mapping[str, Any]) -> dict[str, Video]:
    """The given videos, else those of the scored dataset, by name; empty if that no longer exists.

    Args:
        path: The videos.
        scored: Scores written by `mug evaluate --out`.
    """
    if path is not None:
        return {video.name: video for video in open_videos(path)}
    if "gt" not in scored or not Path(scored["gt"]).exists():
        return {}
    videos = open_videos(Path(scored["gt"]), scored.get("dataset"), scored.get("split"))
    return {video.name: video for video in videos}


def spread(frames: Sequence[str], count: int = FRAMES) -> list[str]:
    """A few frames, evenly spread over a sequence; each is the middle of an equal part if there are enough.

    >>> spread(list("abcdefgh"), 4)
    ['b', 'd', 'f', 'h']
    """
    if len(frames) <= count:
        return list(frames)
    return [frames[(2 * k + 1) * len(frames) // (2 * count)] for k in range(count)]
