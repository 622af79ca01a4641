"""`mug propagate`: carries the mask of a video's first frame through the video (O-VOS)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from downstream.backbones.device import choose_device
from downstream.data.dataset import Dataset
from downstream.data.kinds import find_dataset, open_dataset, open_videos
from downstream.options import PropagateOptions
from downstream.systems.base import OneShot, open_part
from mug.errors import InputError
from mug.media.masks import VOID, read_mask
from mug.media.results import Results
from mug.media.video import Video
from mug.run.progress import track


class _Job(NamedTuple):
    video: Video
    given: dict[str, np.ndarray]
    """Masks that are given, by their frame's name: the first, and those of frames in which more objects appear."""


def propagate(options: PropagateOptions) -> None:
    """Carries the masks of first frames through their videos (O-VOS)."""
    device = choose_device(options.device)
    jobs = _jobs(options)
    carry: OneShot = open_part("one_shot", options.system, options, device)
    names = [job.video.name for job in jobs]
    results = Results(options.out, names, overlay=options.overlay, overwrite=options.overwrite)
    for video, given in jobs:
        results.write_video(video, track(carry(video, given), video.name, len(video)))


def _jobs(options: PropagateOptions) -> list[_Job]:
    if options.mask is None and find_dataset(options.videos, options.dataset) is not None:
        return list(_dataset_jobs(open_dataset(options.videos, options.dataset), options))
    videos = open_videos(options.videos, options.dataset, options.split)
    if options.mask is not None and len(videos) > 1:
        raise InputError(f"{options.videos}: holds {len(videos)} videos; --mask goes with a single one")
    masks = [first_mask(video, options.mask or annotation(video)) for video in videos]
    return [_Job(video, {video.frame_names[0]: mask}) for video, mask in zip(videos, masks, strict=True)]


def _dataset_jobs(dataset: Dataset, options: PropagateOptions) -> Iterator[_Job]:
    """The sequences of a dataset with the masks that it gives."""
    for name in dataset.sequences(options.split):
        video, annotations = dataset.video(name), dataset.frames(name)
        given = {frame: check_mask(video, mask, annotations[frame].path) for frame, mask in dataset.given(name).items()}
        yield _Job(video, given)


def annotation(video: Video) -> Path:
    """The first frame's annotation of a sequence that lies in a DAVIS layout.

    Raises:
        InputError: the video lies elsewhere, or the file is missing.
    """
    parts = list(video.path.resolve().parts)
    if "JPEGImages" not in parts:
        raise InputError(f"{video.path}: has no annotation beside it; give the first frame's mask with --mask")
    at = len(parts) - 1 - parts[::-1].index("JPEGImages")
    parts[at] = "Annotations"
    path = Path(*parts) / f"{video.frame_names[0]}.png"
    if not path.is_file():
        raise InputError(f"{path}: no such mask; O-VOS needs the first frame's annotation")
    return path


def first_mask(video: Video, path: Path) -> np.ndarray:
    """Reads the mask of the video's first frame and checks that it can be one.

    Raises:
        InputError: unreadable, of another size than the video, or without an object.
    """
    return check_mask(video, read_mask(path), path)


def check_mask(video: Video, mask: np.ndarray, path: Path) -> np.ndarray:
    """The mask, once it is clear that it can be given with a frame of the video.

    Raises:
        InputError: it is of another size than the video, or without an object.
    """
    if mask.shape != tuple(video.size):
        (rows, columns), (height, width) = mask.shape, video.size
        raise InputError(f"{path}: is {columns}x{rows} pixels, its video {width}x{height}; give a mask of that size")
    if not np.any((mask > 0) & (mask != VOID)):
        raise InputError(f"{path}: shows no object; the first mask needs ids from 1")
    return mask
