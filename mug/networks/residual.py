"""The residual layers of any network of mug, as weights of torchvision's ResNets."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from mug.networks.trunk import DEPTHS


class Residual(NamedTuple):
    """Weights for `torchvision.models.resnet*`."""

    name: str
    """`resnet18` to `resnet152`."""
    state: dict[str, Tensor]
    """By torchvision's names."""
    missing: list[str]
    """Layers of torchvision's network that have no weights here: the classifier, and groups that are not used."""


def residual_layers(network: nn.Module) -> list[Residual]:
    """The ResNets in a network; their strides and dilations, which weights do not show, may not be torchvision's."""
    return [_of(module) for module in network.modules() if isinstance(module, torchvision.models.ResNet)]


def _of(resnet: nn.Module) -> Residual:
    state = {name: x.detach() for name, x in resnet.state_dict().items()}
    shapes = {name: x.shape for name, x in state.items()}
    layers = {_layer(name) for name in state}
    for depth in DEPTHS:
        with torch.device("meta"):
            expected = getattr(torchvision.models, f"resnet{depth}")(weights=None).state_dict()
        if {name: x.shape for name, x in expected.items() if _layer(name) in layers} == shapes:
            missing = dict.fromkeys(_layer(name) for name in expected if _layer(name) not in layers)
            return Residual(f"resnet{depth}", state, list(missing))
    raise AssertionError("a ResNet that is not torchvision's")


def _layer(name: str) -> str:
    return name.partition(".")[0]
