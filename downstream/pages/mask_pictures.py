"""Masks drawn over their frames, for the pages."""

from __future__ import annotations

from collections.abc import Mapping
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
"""Pixels that an overlay should at least be about as wide as."""


def mask_picture(path: Path, frame: str, video: Video | None, threshold: float | None = None) -> np.ndarray:
    """A mask over its frame, over black where the frame is not at hand, HWC uint8 RGB.

    Args:
        path: A mask, or a soft map where `threshold` is given.
        frame: Its frame's name.
        video: Where the frame is.
        threshold: Share of 255 above which a soft map is foreground.

    Raises:
        InputError: mask or frame cannot be read, or differ in size.
    """
    mask = read_mask(path) if threshold is None else (read_soft(path) > threshold * 255).astype(np.uint8)
    return over_frame(mask, path, frame, video)


def over_frame(mask: np.ndarray, path: Path, frame: str, video: Video | None) -> np.ndarray:
    """The same of a mask (HW uint8) that was read from `path`."""
    if video is None or frame not in video.frame_names:
        return blend(np.zeros((*mask.shape, 3), np.uint8), mask, 1.0)
    image = video[list(video.frame_names).index(frame)]
    if image.shape[:2] != mask.shape:
        raise InputError(f"{path}: is not of its frame's size; give the videos it was made of with --videos")
    return outlined(image, mask)


def outlined(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A frame with its objects tinted and drawn round in white, small ones enlarged so that the line is fine."""
    scale = max(1, round(OVERLAY_WIDTH / frame.shape[1]))
    frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    mask = cv2.resize(mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    out = blend(frame, mask, 0.4)
    out[cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0] = 255
    return out


def videos_by_name(path: Path | None, scored: Mapping[str, Any]) -> dict[str, Video]:
    """The videos that are given, else those of the dataset that was scored; none where they no longer lie there.

    Args:
        path: Where the videos are.
        scored: What `mug evaluate --out` wrote.
    """
    if path is not None:
        return {video.name: video for video in open_videos(path)} if path.exists() else {}
    if "gt" not in scored or not Path(scored["gt"]).exists():
        return {}
    videos = open_videos(Path(scored["gt"]), scored.get("dataset"), scored.get("split"))
    return {video.name: video for video in videos}
