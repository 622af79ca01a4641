"""`mug segment`: finds and outlines the main object of a video, or its objects, without a mask given (Z-VOS)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from downstream.backbones.device import choose_device
from downstream.data.kinds import open_videos
from downstream.instances.tracks import Carrier, Instances
from downstream.options import SegmentOptions
from downstream.systems.base import Matching, ZeroShot, open_part
from downstream.systems.mug import MuGOneShot
from downstream.systems.mug.matching import carrier
from mug.media.refine import refine, require_crf
from mug.media.results import BESIDE, Results
from mug.media.video import Video
from mug.run.progress import track


def segment(options: SegmentOptions) -> None:
    """Segments the main object of each video, or with `--instances` its objects (Z-VOS)."""
    device = choose_device(options.device)
    if options.refine == "crf":
        require_crf()
    videos = open_videos(options.videos, options.dataset, options.split)
    system: ZeroShot = open_part("zero_shot", options.system, options, device)
    split = None
    if options.instances:
        carry = carrier_by(system.matching, device) if options.instance.propagate else None
        split = Instances(options.instance, device, carry)
    results = Results(
        options.out,
        [video.name for video in videos],
        beside=[kept for kept in BESIDE if getattr(options, kept)],
        overlay=options.overlay,
        overwrite=options.overwrite,
    )
    for video in videos:
        maps = _refined(video, system.find(video), options, results)
        results.write_video(video, split(video, maps) if split else map(_mask, maps))


def carrier_by(matching: Matching, device: torch.device) -> Carrier:
    """O-VOS by what a system compares frames by, for the objects of a video's first frame.

    Raises:
        InputError: weights that cannot be used.
    """
    carry = carrier(MuGOneShot(backbone=matching.backbone), matching.weights, device)
    return lambda video, first: carry(video, {video.frame_names[0]: first})


def _refined(
    video: Video, found: Iterator[np.ndarray], options: SegmentOptions, results: Results
) -> Iterator[np.ndarray]:
    """The refined object-level maps; what else of them is kept is written on the way."""
    maps = track(found, video.name, len(video))
    for name, frame, map_hw in zip(video.frame_names, video, maps, strict=True):
        refined = refine(frame, map_hw, options.refine)
        if options.raw:
            results.write_raw(video.name, name, _mask(map_hw))
        if options.soft:
            results.write_soft(video.name, name, refined)
        yield refined


def _mask(map_hw: np.ndarray) -> np.ndarray:
    return (map_hw > 0.5).astype(np.uint8)
