"""What MuG's weights can become a program of: phi, and the propagation step on its matching features."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.backbones.by_name import suited_temperature
from downstream.one_shot.protocols import PRESETS
from downstream.one_shot.step import PropagationStep
from mug.backbone import MATCH_CHANNELS
from mug.model import MuG
from mug.networks.program import BATCH, HEIGHT, WIDTH, Part, Size

FRAMES, OBJECTS, ROWS, COLUMNS = Size("frames"), Size("objects"), Size("height", 4), Size("width", 4)
"""Frames in memory, labels with the background, and cells."""

PROTOCOL = ("temperature", "top_k", "frames", "keep_first", "radius", "first_radius", "radius_in", "sharpen")
"""Fields of `PropagationConfig` that the step follows, or that whoever calls it has to follow."""


def parts(network: MuG) -> Mapping[str, Part]:
    """Phi, and the propagation step of the preset `mug` at the temperature of the weights."""
    config = replace(PRESETS["mug"], temperature=suited_temperature(network, network.metadata))
    protocol = {name: getattr(config, name) for name in PROTOCOL}
    grid = (ROWS, COLUMNS)
    step_inputs = {
        "query": (MATCH_CHANNELS, *grid),
        "memory": (FRAMES, MATCH_CHANNELS, *grid),
        "labels": (FRAMES, OBJECTS, *grid),
        "radius": (FRAMES,),
    }
    return {
        "phi": Part(
            network.phi,
            {"frames": (BATCH, 3, HEIGHT, WIDTH)},
            ("trunk", "match", "value"),
            {"stride": str(network.phi.stride)},
        ),
        "propagation": Part(
            PropagationStep(config),
            step_inputs,
            ("propagated",),
            {"protocol": json.dumps(protocol)},
            make=_example,
        ),
    }


def _example(
    query: Sequence[int], memory: Sequence[int], labels: Sequence[int], radius: Sequence[int]
) -> tuple[Tensor, ...]:
    features = [F.normalize(torch.randn(*shape), dim=-3) for shape in (query, memory)]
    return *features, torch.rand(*labels).softmax(1), torch.full((*radius,), 3.0)
