"""Z-VOS by MuG: its readout, or the adapted mode with any backbone (MuG Sec. 3.3)."""

from __future__ import annotations

import torch

from downstream.backbones.by_name import open_backbone, suited_temperature
from downstream.backbones.names import OURS
from downstream.one_shot.protocols import PRESETS
from downstream.systems.base import Matching, ZeroShot
from downstream.systems.mug import MuGSegmentOptions
from downstream.zero_shot.main_object import segment_video, segment_video_by
from mug.checkpoint import load_weights


def open_zero_shot(options: MuGSegmentOptions, device: torch.device) -> ZeroShot:
    """Opens Z-VOS with MuG's features, or with another backbone in the adapted mode.

    Raises:
        InputError: the backbone, weights or settings cannot be used.
    """
    options.check()
    weights = options.weights
    matching = Matching(options.backbone, weights)
    if options.backbone != OURS:
        extract, _ = open_backbone(options.backbone, weights, device, PRESETS["mug"].stride)
        suited = options.temperature or PRESETS["mug"].temperature
        return ZeroShot(lambda video: segment_video_by(video, extract, device, options, suited), matching)
    model, metadata = load_weights(weights)
    model = model.to(device).eval()
    temperature = options.temperature or suited_temperature(model, metadata)
    return ZeroShot(lambda video: segment_video(video, model, options, temperature), matching)
