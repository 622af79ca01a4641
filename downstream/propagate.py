"""`mug propagate`: carries the mask of a video's first frame through the video (O-VOS)."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from downstream.backbones.by_name import OURS, Backbone, open_backbone
from downstream.backbones.device import choose_device
from downstream.data.dataset import Dataset, Kind
from downstream.data.kinds import find_dataset, open_dataset, open_videos
from downstream.one_shot.motion import whole_video
from downstream.one_shot.propagator import Propagator
from downstream.one_shot.protocols import LEFT_TO_THE_WEIGHTS, PRESETS, Preset, Witnesses, check_temperature
from mug.errors import InputError
from mug.media.files import prepare_output
from mug.media.listing import mask_files
from mug.media.masks import VOID, read_mask, write_mask
from mug.media.overlay import OverlayWriter
from mug.media.video import Video
from mug.run.progress import track
from mug.run.several import Several


@dataclass
class PropagateOptions:
    """What `mug propagate` is asked to do."""

    videos: Path
    """A video, or the root of a dataset (DAVIS, YouTube-VOS, FBMS-59, ...), of which no masks are read but those that
    are given: each sequence's first, and that of each object that appears later."""
    out: Path
    """Folder for the results: OUT/<sequence>/<frame>.png."""
    backbone: str = OURS
    """What frames are compared by: `mug`, `imagenet`, `torchvision:NAME[:LAYER]` or `timm:NAME[:LAYER]`, as in
    `torchvision:resnet18:layer3`; or a function of your own, `your_module:your_function`."""
    weights: Path | None = None
    """Weights of the backbone; of MuG, those that come with the package when not given."""
    mask: Path | None = None
    """The mask of the first frame, for a single video."""
    dataset: Kind | None = None
    """Which dataset `videos` is; recognised by its layout when not given."""
    split: str | None = None
    """The part of that dataset (`2017/val`, `test-dev`, `valid`)."""
    preset: Preset = "mug"
    """The protocol: `mug` is ours, `paper` is MuG Eq. 17 to the letter, the others are the published ones of that name
    (docs/protocols.md)."""
    size: int | None = None
    """Pixels of the frame's shorter side as the backbone sees it; the preset's when not given."""
    temperature: float | None = None
    """Of the softmax over similarities; when not given, the published one, or for `mug` and `paper` what the weights
    say suits them."""
    evidence: Witnesses | None = None
    """What joins matching in every frame: that an object moves (`motion`), what it looks like (`appearance`), `both` or
    `none`. The preset's when not given: both for `mug`, none for the others."""
    causal: bool = False
    """Segment each frame from the frames before it alone, as a live stream would have it."""
    overlay: bool = False
    """Write OUT/<sequence>.mp4 too, with the masks drawn over the frames."""
    overwrite: bool = False
    """Replace results that are there already."""
    device: str = "auto"
    """`cpu`, `cuda` or `auto`: a GPU where there is one."""


class _Job(NamedTuple):
    video: Video
    given: dict[str, np.ndarray]
    """Masks that are given, by their frame's name: the first, and those of frames in which more objects appear."""
    folder: Path

    @property
    def start(self) -> int:
        """The first frame with a mask: there is nothing to find before it."""
        return next(i for i, name in enumerate(self.video.frame_names) if name in self.given)


def propagate(options: PropagateOptions) -> None:
    """Carries the masks of first frames through their videos (O-VOS)."""
    check_temperature(options.temperature)
    if options.size is not None and options.size < 32:
        raise InputError(f"--size {options.size}: must be at least 32 pixels")
    device = choose_device(options.device)
    jobs, several = _jobs(options)
    if not jobs:
        several.finish()
    config = PRESETS[options.preset]
    backbone = open_backbone(options.backbone, options.weights, device, config.stride)
    config = replace(
        config,
        size=options.size or config.size,
        temperature=options.temperature or preset_temperature(options.preset, backbone),
        evidence=options.evidence or config.evidence,
    )
    for job in jobs:  # every folder is looked at before the first is written to
        prepare_output(job.folder, options.overwrite)
    for job in jobs:
        with several.attempt(job.video.name):
            motion = None if options.causal else whole_video(job.video, job.start)
            _run(job, Propagator(backbone.extract, config, device, motion), options.overlay)
    several.finish()


def preset_temperature(preset: Preset, backbone: Backbone) -> float:
    """A published protocol's own temperature; for ours the one that suits the weights, where it is known."""
    if preset in LEFT_TO_THE_WEIGHTS and backbone.temperature is not None:
        return backbone.temperature
    return PRESETS[preset].temperature


def _jobs(options: PropagateOptions) -> tuple[list[_Job], Several]:
    """What there is to do, and what keeps count of the videos that cannot be done."""
    if options.mask is None and find_dataset(options.videos, options.dataset) is not None:
        dataset = open_dataset(options.videos, options.dataset)
        names = dataset.sequences(options.split)
        make = [partial(_dataset_job, dataset, name, options) for name in names]
    else:
        videos = open_videos(options.videos, options.dataset, options.split)
        if options.mask is not None and len(videos) > 1:
            raise InputError(f"{options.videos}: holds {len(videos)} videos; --mask goes with a single one")
        names = [video.name for video in videos]
        make = [partial(_video_job, video, options) for video in videos]
    several, jobs = Several(len(names)), []
    for name, job in zip(names, make, strict=True):
        with several.attempt(name):
            jobs.append(job())
    return jobs, several


def _video_job(video: Video, options: PropagateOptions) -> _Job:
    first = video.frame_names[0]
    return _Job(video, {first: first_mask(video, options.mask or annotation(video))}, options.out / video.name)


def _dataset_job(dataset: Dataset, name: str, options: PropagateOptions) -> _Job:
    """A sequence of a dataset with the masks that it gives."""
    video, annotations = dataset.video(name), dataset.frames(name)
    given = {frame: check_mask(video, mask, annotations[frame].path) for frame, mask in dataset.given(name).items()}
    return _Job(video, given, options.out / name)


def annotation(video: Video) -> Path:
    """The first frame's annotation of a sequence that lies in a DAVIS layout, or that a link leads to.

    Raises:
        InputError: the video lies elsewhere, or the file is missing.
    """
    missing = None
    for place in (Path(os.path.abspath(video.path)), video.path.resolve()):  # as the user sees it, first
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


def _run(job: _Job, propagator: Propagator, overlay: bool) -> None:
    video = job.video
    with ExitStack() as stack:
        writer = None
        if overlay:
            movie = job.folder.with_name(f"{job.folder.name}.mp4")
            writer = stack.enter_context(OverlayWriter(movie, video.fps, video.size))
        frames = track(video, video.name, len(video))
        for index, (name, frame) in enumerate(zip(video.frame_names, frames, strict=True)):
            known = index >= job.start
            mask = propagator.step(frame, job.given.get(name)) if known else np.zeros(video.size, np.uint8)
            write_mask(job.folder / f"{name}.png", mask)
            if writer is not None:
                writer.write(frame, mask)
