"""The node embedding: a residual trunk and atrous spatial pyramid pooling (AGNN Eq. 3; DeepLabV3)."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn

from agnn_head.options import EmbeddingConfig
from mug.backbone import IMAGENET_MEAN, IMAGENET_STD, TRUNK_CHANNELS, Phi
from mug.errors import InputError
from mug.norm import BatchNorm
from mug.options import BackboneConfig

RESNET_CHANNELS = 2048


class Embedding(nn.Module):
    """F_DeepLab of AGNN Eq. 3.

    Args:
        config: The trunk and the pyramid.
        channels: C of the node's feature map.

    Raises:
        InputError: an unknown trunk.
    """

    def __init__(self, config: EmbeddingConfig, channels: int) -> None:
        super().__init__()
        if config.kind not in ("phi", "deeplab"):
            raise InputError(f"embedding.kind: {config.kind!r} is unknown; use phi or deeplab")
        self.trunk: Phi | DeepLabTrunk
        if config.kind == "phi":
            self.trunk, trunk_channels = Phi(config.backbone or BackboneConfig()), TRUNK_CHANNELS
            for head in (self.trunk.match_head, self.trunk.value_head):
                head.requires_grad_(False)  # unused here; distributed training would wait for their gradients
        else:
            self.trunk, trunk_channels = DeepLabTrunk(config.depth), RESNET_CHANNELS
        self.aspp = ASPP(trunk_channels, config.rates, channels)

    def forward(self, frames_bchw: Tensor) -> Tensor:
        """RGB frames (B, 3, H, W) in [0, 1] -> (B, C, h, w), h = ceil(H / stride); non-negative."""
        seen = self.trunk(frames_bchw)
        return self.aspp(seen if isinstance(self.trunk, DeepLabTrunk) else seen.trunk)


class DeepLabTrunk(nn.Module):
    """torchvision's ResNet with its last two groups dilated: stride 8, 2048 channels; torchvision's layer names.

    Raises:
        InputError: a depth for which torchvision has no DeepLabV3.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, depth: int) -> None:
        super().__init__()
        if depth not in (50, 101):
            raise InputError(f"embedding.depth: {depth} is no ResNet of DeepLabV3; use 50 or 101")
        build = getattr(torchvision.models, f"resnet{depth}")
        self.resnet = build(weights=None, norm_layer=BatchNorm, replace_stride_with_dilation=[False, True, True])
        del self.resnet.avgpool, self.resnet.fc
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, frames_bchw: Tensor) -> Tensor:
        """RGB frames (B, 3, H, W) in [0, 1] -> (B, 2048, h, w)."""
        net = self.resnet
        x = net.maxpool(net.relu(net.bn1(net.conv1((frames_bchw - self.mean) / self.std))))
        return net.layer4(net.layer3(net.layer2(net.layer1(x))))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (DeepLabV3, Chen et al. 2017) with torchvision's names for the convolutions.

    The pooled branch has a single value per frame and channel. Batch statistics over the few frames of a step would be
    noise, and over one frame undefined, so it has a bias instead of a norm.
    """

    def __init__(self, in_channels: int, rates: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        pyramid = [_conv(in_channels, channels, 1)] + [_conv(in_channels, channels, 3, rate) for rate in rates]
        self.convs = nn.ModuleList(pyramid)
        self.pooled = nn.Conv2d(in_channels, channels, 1)
        self.project = _conv((len(pyramid) + 1) * channels, channels, 1)

    def forward(self, x_bchw: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, channels, h, w)."""
        pooled = self.pooled(x_bchw.mean((2, 3), keepdim=True)).relu()
        branches = [conv(x_bchw) for conv in self.convs]
        return self.project(torch.cat([*branches, pooled.expand_as(branches[0])], 1))


def _conv(in_channels: int, out_channels: int, kernel: int, rate: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=rate * (kernel // 2), dilation=rate, bias=False)
    return nn.Sequential(conv, BatchNorm(out_channels), nn.ReLU())
