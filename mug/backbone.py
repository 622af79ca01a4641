"""phi: the fully convolutional feature extractor that all losses train and all tasks use (MuG Sec. 3.1, 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mug.errors import InputError
from mug.norm import BatchNorm
from mug.options import BackboneConfig
from mug.precision import widen

TRUNK_CHANNELS = 512
MATCH_CHANNELS = 64
VALUE_CHANNELS = 128

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Features(NamedTuple):
    """Feature maps of a batch of frames; h = ceil(H / stride), w = ceil(W / stride), cells as in `mug.grid`."""

    trunk: Tensor
    """(B, 512, h, w): input of rho."""
    match: Tensor
    """(B, 64, h, w), L2-normalised over channels: compared between frames."""
    value: Tensor
    """(B, 128, h, w): transferred between frames."""


class Phi(nn.Module):
    """A torchvision ResNet without its classifier, with a matching and a value head.

    The residual layers keep torchvision's names under `resnet.`, so weights can be copied both ways.

    Raises:
        InputError: an unsupported depth, number of stages or stride.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.stride = config.stride
        self.resnet = _headless_resnet(config)
        channels = sum(_output_channels(self.resnet.get_submodule(f"layer{s}")) for s in self._stages_read())
        self.project: nn.Module = nn.Identity()
        if channels != TRUNK_CHANNELS:
            self.project = nn.Sequential(
                nn.Conv2d(channels, TRUNK_CHANNELS, 1, bias=False), BatchNorm(TRUNK_CHANNELS), nn.ReLU(inplace=True)
            )
        self.match_head = nn.Conv2d(TRUNK_CHANNELS, MATCH_CHANNELS, 1, bias=False)
        self.value_head = nn.Conv2d(TRUNK_CHANNELS, VALUE_CHANNELS, 1, bias=False)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, frames_bchw: Tensor) -> Features:
        """Maps RGB frames (B, 3, H, W) in [0, 1] to `Features`."""
        trunk = self.levels(frames_bchw)[-1]
        match = F.normalize(widen(self.match_head(trunk)), dim=1)
        return Features(trunk, match, self.value_head(trunk))

    def levels(self, frames_bchw: Tensor) -> list[Tensor]:
        """Maps of RGB frames (B, 3, H, W) in [0, 1], from shallow to deep; the last is `Features.trunk`.

        The first is the stem's, at a stride of 2, followed by one for each kept group.
        """
        maps: list[Tensor] = []
        for _ in range(self.config.stages + 1):
            maps.append(self.next_level(frames_bchw, maps))
        return maps

    def next_level(self, frames_bchw: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """The map of `levels` after `maps`, the shallower ones."""
        net, stage = self.resnet, len(maps)
        if stage == 0:
            return net.relu(net.bn1(net.conv1((frames_bchw - self.mean) / self.std)))
        x = net.get_submodule(f"layer{stage}")(net.maxpool(maps[0]) if stage == 1 else maps[-1])
        if stage < self.config.stages:
            return x
        read = [_pooled(maps[k], self.stride // self._stride_of(k)) for k in self._stages_read() if k < stage]
        return self.project(torch.cat([*read, x], dim=1))

    @property
    def last_shared(self) -> nn.Parameter:
        """Kernel of the last convolution that all three maps of `Features` depend on."""
        groups = [self.resnet.get_submodule(f"layer{self.config.stages}"), self.project]
        kernels = [m.weight for group in groups for m in group.modules() if isinstance(m, nn.Conv2d)]
        return cast(nn.Parameter, kernels[-1])

    def _stride_of(self, stage: int) -> int:
        return min(4 << (stage - 1), self.stride)

    def _stages_read(self) -> range:
        return range(1 if self.config.hypercolumn else self.config.stages, self.config.stages + 1)


def for_inference(phi: Phi) -> Phi:
    """A faster copy of phi with the same output: batch norms folded into convolutions, channels last in memory.

    Args:
        phi: In evaluation mode.
    """
    copy = deepcopy(phi)
    for module in list(copy.modules()):
        children: dict[str, Any] = dict(module.named_children())
        for conv, norm in (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1")):
            if isinstance(children.get(norm), BatchNorm):
                setattr(module, conv, fuse_conv_bn_eval(children[conv], children[norm]))
                setattr(module, norm, nn.Identity())
    return copy.to(memory_format=torch.channels_last)


def _pooled(features: Tensor, factor: int) -> Tensor:
    """Average pooling centred on every `factor`-th cell, like strided layers."""
    return F.avg_pool2d(features, 2 * factor - 1, factor, factor - 1, count_include_pad=False)


def _check(config: BackboneConfig) -> None:
    if config.depth not in (18, 34, 50, 101):
        raise InputError(f"backbone.depth: {config.depth} is no ResNet we build; use 18, 34, 50 or 101")
    if config.stages not in (1, 2, 3, 4):
        raise InputError(f"backbone.stages: {config.stages} is out of range; use 1 to 4")
    reachable = 4 * 2 ** min(config.stages - 1, 2)
    if config.stride not in (4, 8, 16) or config.stride > reachable:
        raise InputError(
            f"backbone.stride: {config.stride} cannot be had from {config.stages} stages; use one of "
            + ", ".join(str(s) for s in (4, 8, 16) if s <= reachable)
        )


def _headless_resnet(config: BackboneConfig) -> torchvision.models.ResNet:
    """The torchvision network up to the last kept group, without its strides beyond `config.stride`."""
    build = getattr(torchvision.models, f"resnet{config.depth}")
    net: torchvision.models.ResNet = build(weights=None, norm_layer=BatchNorm)
    for name in ("avgpool", "fc", *(f"layer{s}" for s in range(config.stages + 1, 5))):
        delattr(net, name)
    stride, dilation = 4, 1
    for stage in range(2, config.stages + 1):
        if stride < config.stride:
            stride *= 2
            continue
        entry_dilation = dilation  # the first block of a group still has the dilation of the previous group
        if config.dilated:
            dilation *= 2
        for index, block in enumerate(net.get_submodule(f"layer{stage}").children()):
            _unstride(block, entry_dilation if index == 0 else dilation)
    return net


def _unstride(block: nn.Module, dilation: int) -> None:
    for conv in block.modules():
        if isinstance(conv, nn.Conv2d):
            conv.stride = (1, 1)
            if conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (dilation, dilation)


def _output_channels(group: nn.Module) -> int:
    convs = [m for name, m in group.named_modules() if isinstance(m, nn.Conv2d) and "downsample" not in name]
    return convs[-1].out_channels
