"""`mug propagate`: propagates the mask of a video's first frame through the video (O-VOS)."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from downstream.backbones.device import choose_device
from downstream.data.dataset import Dataset
from downstream.data.kinds import find_dataset, open_dataset, open_videos
from downstream.options import PropagateOptions
from downstream.systems.base import OneShot, open_part
from mug.errors import InputError
from mug.media.listing import mask_files
from mug.media.masks import VOID, read_mask
from mug.media.results import FREE_KEYS, Results
from mug.media.video import Video
from mug.run.progress import track
from mug.run.settings import settings_of
from mug.run.several import Several
from mug.run.shard import shard_of


class _Job(NamedTuple):
    video: Video
    given: dict[str, np.ndarray]
    """Given masks by frame name: the first, and those of frames in which further objects appear."""


def propagate(options: PropagateOptions) -> None:
    """Propagates first-frame masks through their videos (O-VOS)."""
    device = choose_device(options.device)
    jobs, several = _jobs(options)
    if not jobs:
        several.finish()
        return
    carry: OneShot = open_part("one_shot", options.system, options, device)
    results = Results(
        options.out,
        [job.video.name for job in jobs],
        settings_of(options, FREE_KEYS),
        overlay=options.overlay,
        overwrite=options.overwrite,
        resume=options.resume,
    )
    for video, given in jobs:
        if video.name in results.finished:
            continue
        with several.attempt(video.name):
            results.write_video(video, track(carry(video, given), f"{video.name}: propagating", len(video)))
    several.finish()


def _jobs(options: PropagateOptions) -> tuple[list[_Job], Several]:
    """The videos of this shard, and the count of those that failed."""
    shard = shard_of(options.shard)
    if options.mask is None and find_dataset(options.videos, options.dataset) is not None:
        dataset = open_dataset(options.videos, options.dataset)
        names = shard.share(dataset.sequences(options.split), lambda name: _length(dataset, name), "videos")
        make = [partial(_dataset_job, dataset, name) for name in names]
    else:
        videos = open_videos(options.videos, options.dataset, options.split)
        if options.mask is not None and len(videos) > 1:
            raise InputError(f"{options.videos}: holds {len(videos)} videos; --mask goes with a single one")
        videos = shard.share(videos, lambda video: video.rough_length, "videos")
        names = [video.name for video in videos]
        make = [partial(_video_job, video, options.mask) for video in videos]
    several, jobs = Several(len(names)), []
    for name, job in zip(names, make, strict=True):
        with several.attempt(name):
            jobs.append(job())
    return jobs, several


def _length(dataset: Dataset, name: str) -> int:
    """Rough number of frames of a sequence; 0 if it cannot be opened, which is told later."""
    try:
        return dataset.video(name).rough_length
    except InputError:
        return 0


def _video_job(video: Video, mask: Path | None) -> _Job:
    return _Job(video, {video.frame_names[0]: first_mask(video, mask or annotation(video))})


def _dataset_job(dataset: Dataset, name: str) -> _Job:
    """A sequence of a dataset with its given masks."""
    video, annotations = dataset.video(name), dataset.frames(name)
    given = {frame: check_mask(video, mask, annotations[frame].path) for frame, mask in dataset.given(name).items()}
    return _Job(video, given)


def annotation(video: Video) -> Path:
    """Path of the first frame's annotation, for a video in a DAVIS layout or a link to one.

    Raises:
        InputError: the video is not in such a layout, or the file is missing.
    """
    missing = None
    for place in (Path(os.path.abspath(video.path)), video.path.resolve()):  # the path as given, then without links
        parts = list(place.parts)
        if "JPEGImages" in parts:
            at = len(parts) - 1 - parts[::-1].index("JPEGImages")
            parts[at] = "Annotations"
            if found := mask_files(Path(*parts)).get(video.frame_names[0]):
                return found
            missing = missing or Path(*parts) / f"{video.frame_names[0]}.png"
    if missing is not None:
        raise InputError(f"{missing}: no such mask; O-VOS needs the first frame's annotation")
    raise InputError(f"{video.path}: has no annotation beside it; give the first frame's mask with --mask")


def first_mask(video: Video, path: Path) -> np.ndarray:
    """Reads and checks the mask of the video's first frame.

    Raises:
        InputError: the mask is unreadable, differs in size from the video, or has no object.
    """
    return check_mask(video, read_mask(path), path)


def check_mask(video: Video, mask: np.ndarray, path: Path) -> np.ndarray:
    """Returns the mask if it is valid for a frame of the video.

    Raises:
        InputError: the mask differs in size from the video, or has no object.
    """
    if mask.shape != tuple(video.size):
        (rows, columns), (height, width) = mask.shape, video.size
        raise InputError(f"{path}: is {columns}x{rows} pixels, its video {width}x{height}; give a mask of that size")
    if not np.any((mask > 0) & (mask != VOID)):
        raise InputError(f"{path}: shows no object; the first mask needs ids from 1")
    return mask
