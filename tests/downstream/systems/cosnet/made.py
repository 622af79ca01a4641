"""A small COSNet."""

from __future__ import annotations

import torch

from downstream.systems.cosnet import COSNetConfig
from downstream.systems.cosnet.network import COSNet
from mug.options import BackboneConfig, EmbeddingConfig

TRUNK = EmbeddingConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8), rates=(1, 2, 3))


def small(attention: str = "symmetric", layers: int = 2) -> COSNet:
    """A network in evaluation mode, all of whose parameters are random and whose maps are not even."""
    torch.manual_seed(0)
    network = COSNet(COSNetConfig(TRUNK, channels=8, attention=attention, layers=layers))  # type: ignore[arg-type]
    if network.co_attention is not None:
        for parameter in network.co_attention.parameters():
            torch.nn.init.normal_(parameter)
    for parameter in network.head.parameters():
        parameter.data *= 3
    return network.eval()
