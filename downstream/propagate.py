"""`mug propagate`: propagates the mask of a video's first frame through the video (O-VOS)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from downstream.backbones.device import choose_device
from downstream.data.dataset import Dataset
from downstream.data.kinds import find_dataset, open_dataset, open_videos
from downstream.one_shot.prompts import Prompts, drawn, masks_of, read_prompts
from downstream.options import PropagateOptions
from downstream.systems.base import Masks, OneShot, open_part
from mug.errors import InputError, logger
from mug.media.address import Address
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
    given: Masks
    """Given masks by frame name: the first, and those of frames in which further objects appear."""
    prompts: Prompts
    """What masks were made from, if not from files."""


def propagate(options: PropagateOptions) -> None:
    """Propagates first-frame masks through their videos (O-VOS)."""
    device = choose_device(options.device)
    system = cache(partial(open_part, "one_shot", options.system, options, device))
    if isinstance(options.videos, Address):
        system()  # before the stream, which does not wait
    jobs, several = _jobs(options)
    if not jobs:
        several.finish(options.out)
        return
    carry: OneShot = system()
    results = Results(
        options.out,
        [job.video.name for job in jobs],
        settings_of(options, FREE_KEYS),
        overlay=options.overlay,
        overwrite=options.overwrite,
        resume=options.resume,
    )
    for video, given, prompts in jobs:
        if video.name in results.finished:
            continue
        with several.attempt(video.name), video.until_stopped():
            if options.overlay:
                _show(results, video, given, prompts)
            total = None if video.live else len(video)
            results.write_video(video, track(carry(video, given), f"{video.name}: propagating", total))
    several.finish(options.out)


def _jobs(options: PropagateOptions) -> tuple[list[_Job], Several]:
    """The videos of this shard, and the count of those that failed."""
    shard = shard_of(options.shard)
    by_hand = [name for name in ("mask", "box", "point") if getattr(options, name)]
    place = options.videos
    if isinstance(place, Address) and not by_hand:
        raise InputError(f"{place}: give the objects of its first frame with --box, --point or --mask")
    if not (isinstance(place, Address) or by_hand) and find_dataset(place, options.dataset) is not None:
        dataset = open_dataset(place, options.dataset)
        names = shard.share(dataset.sequences(options.split), lambda name: _length(dataset, name), "videos")
        make = [partial(_dataset_job, dataset, name) for name in names]
    else:
        videos = open_videos(place, options.dataset, options.split)
        if by_hand and len(videos) > 1:
            raise InputError(f"{place}: holds {len(videos)} videos; --{by_hand[0]} goes with a single one")
        videos = shard.share(videos, lambda video: video.rough_length, "videos")
        names = [video.name for video in videos]
        make = [partial(_marked_job if by_hand else _video_job, video, options) for video in videos]
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


def _video_job(video: Video, _: PropagateOptions) -> _Job:
    """A video with the annotation beside it."""
    return _Job(video, {video.frame_names[0]: first_mask(video, annotation(video))}, {})


def _marked_job(video: Video, options: PropagateOptions) -> _Job:
    """A video with the masks, boxes and points of the options; those of one frame are joined."""
    prompts = read_prompts(video, options.box or (), options.point or ())
    given = {} if options.mask is None else dict(_masks_at(video, options.mask))
    for name, mask in masks_of(video, prompts):
        given[name] = np.where(mask > 0, mask, given[name]) if name in given else mask
    return _Job(video, given, prompts)


def _masks_at(video: Video, path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The mask of the first frame in a file, or those of a folder, by frame name."""
    if not path.is_dir():
        yield video.frame_names[0], first_mask(video, path)
        return
    found = mask_files(path)
    if not found:
        raise InputError(f"{path}: holds no <frame>.png; give a mask or a folder of masks")
    known = video.frame_names[:1] if video.live else video.frame_names
    for name, file in found.items():
        if name not in known:
            raise InputError(f"{file}: {video.name} has no such frame; name masks as its frames, such as {known[0]}")
        yield name, check_mask(video, read_mask(file), file)


def _show(results: Results, video: Video, given: Masks, prompts: Prompts) -> None:
    """Draws the masks that were made from boxes and points, before they are used."""
    for name, objects in prompts.items():
        picture = drawn(video[video.frame_names.index(name)], given[name], objects)
        logger.info("%s: the mask of frame %s", results.write_picture(video.name, name, picture), name)


def _dataset_job(dataset: Dataset, name: str) -> _Job:
    """A sequence of a dataset with its given masks."""
    video, annotations = dataset.video(name), dataset.frames(name)
    given = {frame: check_mask(video, mask, annotations[frame].path) for frame, mask in dataset.given(name).items()}
    return _Job(video, given, {})


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
    raise InputError(f"{video.path}: has no annotation beside it; mark its objects with --box, --point or --mask")


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
