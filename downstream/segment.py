"""`mug segment`: segments the main object of a video, or each of its objects, without a given mask (Z-VOS)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch

from downstream.backbones.device import choose_device
from downstream.data.kinds import open_videos
from downstream.instances.tracks import Carrier, Instances
from downstream.options import SegmentOptions
from downstream.systems.base import Matching, ZeroShot, open_part
from downstream.systems.mug import MuGOneShot
from downstream.systems.mug.matching import carrier
from mug.errors import InputError
from mug.media.refine import refine, require_crf
from mug.media.results import BESIDE, FREE_KEYS, Results
from mug.media.video import Video
from mug.run.progress import track
from mug.run.settings import settings_of
from mug.run.several import Several
from mug.run.shard import shard_of


def segment(options: SegmentOptions) -> None:
    """Segments the main object of each video, or each object with `--instances` (Z-VOS)."""
    videos = shard_of(options.shard).share(
        open_videos(options.videos, options.dataset, options.split), lambda video: video.rough_length, "videos"
    )
    if not videos:
        return
    masks_of = open_segmenter(options, any(video.live for video in videos))
    results = Results(
        options.out,
        [video.name for video in videos],
        settings_of(options, FREE_KEYS),
        beside=[kept for kept in BESIDE if getattr(options, kept)],
        overlay=options.overlay,
        overwrite=options.overwrite,
        resume=options.resume,
    )
    several = Several(len(videos))
    for video in videos:
        if video.name in results.finished:
            continue
        with several.attempt(video.name), video.until_stopped():
            results.write_video(video, masks_of(video, results))
    several.finish(options.out)


class Segmenter(Protocol):
    """Maps a video to the mask (H, W) uint8 of each frame, in order."""

    def __call__(self, video: Video, results: Results | None = None) -> Iterator[np.ndarray]:
        """Writes raw masks and soft maps to `results` along the way, if the options ask for them."""


def open_segmenter(options: SegmentOptions, live: bool = False) -> Segmenter:
    """Opens the system with its refinement and, with `--instances`, instance segmentation.

    Args:
        options: All options.
        live: Whether it is for live videos.

    Raises:
        InputError: the weights or settings cannot be used, or need the whole video where it is live.
    """
    device = choose_device(options.device)
    if options.refine == "crf":
        require_crf()
    system: ZeroShot = open_part("zero_shot", options.system, options, device)
    if live and not (system.live and (system.tell_apart or not options.instances)):
        raise InputError(
            f"{options.videos}: is a stream, and system {options.system} reads whole videos; record it, use --system "
            "rvos, or `mug propagate` with a box"
        )
    split = None
    if options.instances and system.tell_apart is not None:
        return lambda video, results=None: _tracked(system.tell_apart(video), video)
    if options.instances:
        carry = carrier_by(system.matching, device) if options.instance.propagate else None
        split = Instances(options.instance, device, carry)

    def masks_of(video: Video, results: Results | None = None) -> Iterator[np.ndarray]:
        maps = _refined(video, system, options, results)
        return split(video, maps) if split else map(_mask, maps)

    return masks_of


def carrier_by(matching: Matching, device: torch.device) -> Carrier:
    """O-VOS with a system's matching features, for the objects of a video's first frame.

    Raises:
        InputError: the weights cannot be used.
    """
    carry = carrier(MuGOneShot(backbone=matching.backbone), matching.weights, device)
    return lambda video, first: carry(video, {video.frame_names[0]: first})


def _refined(video: Video, system: ZeroShot, options: SegmentOptions, results: Results | None) -> Iterator[np.ndarray]:
    """The refined object-level maps; raw masks and soft maps are written along the way, if requested."""
    maps = _tracked(system.find(video), video)
    for name, frame, map_hw in zip(video.frame_names, video, maps, strict=True):
        refined = refine(frame, map_hw, options.refine, system.crf)
        if results is not None and options.raw:
            results.write_raw(video.name, name, _mask(map_hw))
        if results is not None and options.soft:
            results.write_soft(video.name, name, refined)
        yield refined


def _tracked(maps: Iterator[np.ndarray], video: Video) -> Iterator[np.ndarray]:
    return track(maps, f"{video.name}: segmenting", None if video.live else len(video))


def _mask(map_hw: np.ndarray) -> np.ndarray:
    return (map_hw > 0.5).astype(np.uint8)
