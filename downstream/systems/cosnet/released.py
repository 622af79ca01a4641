"""The weights that COSNet's authors released (`carrierlxk/COSNet`), as our network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from downstream.systems.base import Released
from downstream.systems.cosnet import COSNetConfig
from downstream.systems.cosnet.network import FORMAT, COSNet
from downstream.systems.deeplab import RELEASED, Translation, translate_embedding

CONFIG = COSNetConfig(trunk=RELEASED, channels=256, attention="vanilla", layers=1)
"""Architecture of the release: any W, and a head with one 3x3 convolution."""


def released(tensors: Mapping[str, Tensor]) -> Released:
    """The released network.

    It has a head for each of its two inputs; ours is that of the first, the frame that is segmented. The head of the
    second is left out. Its gate has no bias.

    Args:
        tensors: State dict of `CoattentionNet`.

    Raises:
        InputError: a tensor is missing or has another shape.
    """
    translation = Translation(tensors)
    translate_embedding(translation)
    weight = translation.take("linear_e.weight", "co_attention.affinity.free")
    identity = torch.eye(len(weight), dtype=weight.dtype)
    translation.ours["co_attention.affinity.free"] = weight * len(weight) ** 0.5 - identity
    translation.ours["co_attention.gate.weight"] = translation.take("gate.weight", "co_attention.gate.weight")[
        ..., 0, 0
    ]
    translation.ours["co_attention.gate.bias"] = torch.zeros(1)
    translation.move("conv1.weight", "head.layers.0.weight")
    translation.move_norm("bn1", "head.layers.1")
    for part in ("weight", "bias"):
        translation.move(f"main_classifier1.{part}", f"head.layers.3.{part}")
        translation.move(f"encoder.main_classifier.{part}", f"intermediate.{part}")
    network = COSNet(CONFIG)
    translation.load(network)
    return Released(FORMAT, network.eval(), translation.names)
