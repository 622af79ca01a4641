"""Segments the main object of a video without a given mask (Z-VOS; MuG Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import torch

from downstream.backbones.features import Extractor, PhiFeatures
from downstream.one_shot.propagator import fit_frame
from downstream.one_shot.protocols import PRESETS
from downstream.one_shot.surest import carry_surest
from downstream.zero_shot.adapt import adapt
from downstream.zero_shot.options import ZeroShotConfig
from downstream.zero_shot.sight import BackboneSight, MugSight, Sight
from mug.media.video import Video
from mug.model import MuG

ENLARGED = 2
"""Maximum enlargement of frames for carrying masks; at their original size, cells are too coarse for small frames."""


def segment_video(
    video: Video, model: MuG, config: ZeroShotConfig | None = None, temperature: float | None = None
) -> Iterator[np.ndarray]:
    """Foreground probability of each frame, in order.

    The result is deterministic. Memory does not grow with the length of the video.

    Args:
        video: A video of at least one frame.
        model: The model in evaluation mode, on its device.
        config: Options; None: the defaults.
        temperature: Matching temperature; None: the one learned with the matching head.

    Yields:
        (H, W) float32 in [0, 1] at the original size of the video.

    Raises:
        InputError: a frame cannot be read, or a setting is out of range.
    """
    config = config or ZeroShotConfig()
    config.check()
    sight = MugSight(video, model, config.size, config.references)
    if config.mode == "paper":
        maps = paper_maps(sight)
    else:
        extract, device = PhiFeatures(model.phi), next(model.parameters()).device
        maps = adapted_maps(sight, extract, temperature or float(model.temperature.detach()), device, config.carry)
    yield from _at_full_size(maps, video)


def segment_video_by(
    video: Video,
    extract: Extractor,
    device: torch.device,
    config: ZeroShotConfig,
    temperature: float,
) -> Iterator[np.ndarray]:
    """The same with the features of any backbone, in the adapted mode, since a backbone has no readout.

    Args:
        video: A video of at least one frame.
        extract: The backbone.
        device: Device of the backbone.
        config: Options; only `size` and `carry` are used.
        temperature: Matching temperature.

    Yields:
        See `segment_video`.

    Raises:
        InputError: a frame cannot be read, or a setting is out of range.
    """
    config.check()
    sight = BackboneSight(video, extract, config.size, device)
    yield from _at_full_size(adapted_maps(sight, extract, temperature, device, config.carry), video)


def adapted_maps(
    sight: Sight, extract: Extractor, temperature: float, device: torch.device, carry: bool
) -> Iterator[np.ndarray]:
    """Adapted mode: (h, w) foreground probability at the size of `sight`, frame by frame.

    Args:
        sight: The video at the backbone's input.
        extract: Feature extractor for matching.
        temperature: Matching temperature.
        device: Device of the backbone.
        carry: Whether the most confident mask of each stretch is carried to its other frames.
    """
    protocol = PRESETS["mug"]
    assert protocol.size is not None
    size = min(protocol.size, ENLARGED * min(sight.video.size))
    propagation = replace(protocol, size=size, temperature=temperature)
    for stretch, maps in adapt(sight):
        if carry:
            frames = [fit_frame(sight.video[index], propagation) for index in stretch]
            maps = carry_surest(frames, maps, extract, replace(propagation, size=None), device)
        yield from maps


def _at_full_size(maps: Iterator[np.ndarray], video: Video) -> Iterator[np.ndarray]:
    height, width = video.size
    for map_hw in maps:
        yield np.clip(cv2.resize(map_hw, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)


def paper_maps(sight: MugSight) -> Iterator[np.ndarray]:
    """Paper mode: the trained readout (MuG Sec. 3.3) of each frame, enlarged from phi's cells to the video's size."""
    for index, frame in enumerate(sight.video):
        cells = torch.from_numpy(sight.read(sight.augmented(index, frame)))
        yield sight.lattice.enlarge(cells[None, None], sight.video.size)[0, 0].numpy()
