"""O-VOS by matching: given masks are propagated by feature similarity, with any backbone (MuG Eq. 17)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from downstream.backbones.by_name import Backbone, open_backbone
from downstream.one_shot.motion import whole_video
from downstream.one_shot.propagator import Propagator
from downstream.one_shot.protocols import LEFT_TO_THE_WEIGHTS, PRESETS, Preset
from downstream.systems.base import Masks, OneShot
from downstream.systems.mug import MuGOneShot, MuGPropagateOptions
from mug.media.video import Video


def open_one_shot(options: MuGPropagateOptions, device: torch.device) -> OneShot:
    """Opens the method for `mug propagate`; see `carrier`."""
    return carrier(options, options.weights, device)


def carrier(options: MuGOneShot, weights: Path | None, device: torch.device) -> OneShot:
    """O-VOS by the protocol of a preset on the features of a backbone.

    Raises:
        InputError: the backbone, weights or settings cannot be used.
    """
    options.check()
    config = PRESETS[options.preset]
    backbone = open_backbone(options.backbone, weights, device, config.stride)
    config = replace(
        config,
        size=options.size or config.size,
        temperature=options.temperature or preset_temperature(options.preset, backbone),
        evidence=options.evidence or config.evidence,
        appearance=options.appearance,
    )

    def carry(video: Video, given: Masks) -> Iterator[np.ndarray]:
        start = next(index for index, name in enumerate(video.frame_names) if name in given)
        motion = None if options.causal or video.live else whole_video(video, start)
        propagator = Propagator(backbone.extract, config, device, motion)
        for index, (name, frame) in enumerate(zip(video.frame_names, video, strict=True)):
            # there is nothing to find before the first mask
            yield propagator.step(frame, given.get(name)) if index >= start else np.zeros(video.size, np.uint8)

    return carry


def preset_temperature(preset: Preset, backbone: Backbone) -> float:
    """Temperature of a published protocol; for `mug` and `paper` that of the weights, if known."""
    if preset in LEFT_TO_THE_WEIGHTS and backbone.temperature is not None:
        return backbone.temperature
    return PRESETS[preset].temperature
