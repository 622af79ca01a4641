"""Trunks: feature maps of a frame from shallow to deep, by phi, torchvision or timm, and their initial weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

import mug.checkpoint
from mug.backbone import IMAGENET_MEAN, IMAGENET_STD, Phi
from mug.checkpoint import check_same
from mug.errors import InputError
from mug.networks.named import imagenet_pyramid, load_imagenet
from mug.networks.tensors import read_tensors, without_prefix
from mug.networks.weights import HEADS
from mug.norm import BatchNorm
from mug.options import BackboneConfig, TrunkConfig

_IMAGENET_SCALES = (6.4, 8.7, 7.6, 6.5, 2.8)
"""Measured on the first frames of twenty videos, resized to 224 x 128; 2.7 for the last with a stride of 8."""
DEPTHS = (18, 34, 50, 101, 152)
STRIDES = (8, 16, 32)
_TRIAL = 64
"""Side in pixels of the blank frame that shows what maps a trunk gives."""


class Trunk(nn.Module, ABC):
    """Maps frames to a pyramid of feature maps.

    Attributes:
        count: Number of maps.
        channels: Channels of each map, from shallow to deep.
        strides: Pixels of the frame per cell of each map, from shallow to deep.
        scales: Root mean square of each map on natural frames, if it is far from 1. Layers without norms, which are
            initialised for inputs of size 1, divide by it.
    """

    count: int
    channels: Sequence[int]
    strides: Sequence[int]
    scales: Sequence[float]

    def forward(self, frames_bchw: Tensor) -> list[Tensor]:
        """RGB frames (B, 3, H, W) in [0, 1] -> maps (B, channels[k], ceil(H / strides[k]), ceil(W / strides[k]))."""
        maps: list[Tensor] = []
        for _ in range(self.count):
            maps.append(self.next_map(frames_bchw, maps))
        return maps

    @abstractmethod
    def next_map(self, frames_bchw: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """The map after `maps`, the shallower ones, which a method may have changed in between."""

    @property
    @abstractmethod
    def last_group(self) -> nn.Module:
        """The layers between the last two maps."""

    @abstractmethod
    def load(self, path: Path | None) -> None:
        """Loads initial weights.

        Args:
            path: The file; None for weights that are packaged, if there are any.

        Raises:
            InputError: the file cannot be used, or there has to be one.
        """

    def _look(self) -> None:
        """Finds `channels` and `strides` by a trial; `scales` are 1."""
        training = self.training
        with torch.no_grad():
            maps = self.eval()(torch.zeros(1, 3, _TRIAL, _TRIAL))
        self.train(training)
        self.channels = [x.shape[1] for x in maps]
        self.strides = [_TRIAL // x.shape[2] for x in maps]
        self.scales = [1.0] * self.count


def build_trunk(config: TrunkConfig) -> Trunk:
    """Builds a trunk with random weights.

    Raises:
        InputError: an unknown kind, depth or stride, or a library that is not installed.
    """
    kinds: Mapping[str, Callable[[TrunkConfig], Trunk]] = {
        "phi": PhiTrunk,
        "resnet": ResNetTrunk,
        "imagenet": ImageNetTrunk,
    }
    if config.kind not in kinds:
        raise InputError(f"trunk.kind: {config.kind!r} is unknown; use {', '.join(kinds)}")
    if config.stride not in STRIDES:
        raise InputError(f"trunk.stride: {config.stride} cannot be had; use 8, 16 or 32")
    return kinds[config.kind](config)


class PhiTrunk(Trunk):
    """MuG's phi: the maps of its stem and its residual groups, the last as rho reads it."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.phi = Phi(config.backbone or BackboneConfig())
        self.count = self.phi.config.stages + 1
        for head in (self.phi.match_head, self.phi.value_head):
            head.requires_grad_(False)  # unused here; distributed training would wait for their gradients
        self._look()

    def next_map(self, frames_bchw: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """See `Trunk`."""
        return self.phi.next_level(frames_bchw, maps)

    @property
    def last_group(self) -> nn.Module:
        """See `Trunk`."""
        return nn.ModuleList([self.phi.resnet.get_submodule(f"layer{self.phi.config.stages}"), self.phi.project])

    def load(self, path: Path | None) -> None:
        """Loads phi from a file of `mug.checkpoint.save_weights`; None for the packaged weights."""
        loaded, _ = mug.checkpoint.load_weights(path)
        theirs, ours = asdict(loaded.config.backbone), asdict(self.phi.config)
        for name, value in theirs.items():
            if value != ours[name]:
                where = path or "packaged weights"
                raise InputError(f"{where}: its phi has {name} {value}, not {ours[name]}; set it so")
        self.phi.load_state_dict(loaded.phi.state_dict())


class ResNetTrunk(Trunk):
    """torchvision's ResNet under torchvision's names; with a stride of 8 the one inside its DeepLabV3."""

    count = 5
    mean: Tensor
    std: Tensor

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        if config.depth not in DEPTHS:
            raise InputError(f"trunk.depth: {config.depth} is no ResNet of torchvision; use 18, 34, 50, 101 or 152")
        if config.depth < 50 and config.stride < 32:
            raise InputError(f"trunk.stride: {config.stride} needs a ResNet of 50 layers or more; use 32")
        if config.depth < 50 and config.caffe:
            raise InputError(f"trunk.caffe: the ResNet of {config.depth} layers has no 1x1 kernels; use 50 or more")
        build = getattr(torchvision.models, f"resnet{config.depth}")
        dilated = [False, config.stride < 16, config.stride < 32]
        self.resnet = build(weights=None, norm_layer=BatchNorm, replace_stride_with_dilation=dilated)
        del self.resnet.avgpool, self.resnet.fc
        if config.caffe:
            _as_in_caffe(self.resnet)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self._look()

    def next_map(self, frames_bchw: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """See `Trunk`."""
        net, group = self.resnet, len(maps)
        if group == 0:
            return net.relu(net.bn1(net.conv1((frames_bchw - self.mean) / self.std)))
        return net.get_submodule(f"layer{group}")(net.maxpool(maps[0]) if group == 1 else maps[-1])

    @property
    def last_group(self) -> nn.Module:
        """See `Trunk`."""
        group: nn.Module = self.resnet.layer4
        return group

    def load(self, path: Path | None) -> None:
        """Loads torchvision's classifier or DeepLabV3 of this depth, `.safetensors` or `.pth`; heads are dropped."""
        if path is None:
            raise InputError("--weights: give torchvision's ResNet or DeepLabV3 as a file, or --scratch")
        path, counts = Path(path), "num_batches_tracked"  # older files have no counts
        expected = {name: x for name, x in self.resnet.state_dict().items() if not name.endswith(counts)}
        tensors = {
            name: x
            for name, x in without_prefix(read_tensors(path), expected).items()
            if not name.endswith(counts) and name.split(".")[0] not in HEADS
        }
        check_same(path, tensors, expected)
        self.resnet.load_state_dict(tensors, strict=False)


def _as_in_caffe(resnet: torchvision.models.ResNet) -> None:
    """Moves strides and dilations to where Caffe's ResNet has them; see `TrunkConfig.caffe`."""
    for group in (resnet.layer2, resnet.layer3, resnet.layer4):
        first, second = group[0], group[1]
        first.conv1.stride, first.conv2.stride = first.conv2.stride, first.conv1.stride
        first.conv2.dilation, first.conv2.padding = second.conv2.dilation, second.conv2.padding


class ImageNetTrunk(Trunk):
    """EfficientNet-Lite0 of timm, with its weights for ImageNet from the extra `imagenet`.

    Its maps are sums of residuals without a rectifier or norm after them, hence their scales.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.network: Any
        self.network, mean, std = imagenet_pyramid(config.stride)
        self._ends = [level["stage"] for level in self.network.feature_info.get_dicts()]
        self.count = len(self._ends)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self._look()
        self.scales = _IMAGENET_SCALES

    def next_map(self, frames_bchw: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """See `Trunk`."""
        net, start, end = self.network, self._ends[len(maps) - 1] if maps else 0, self._ends[len(maps)]
        x = maps[-1] if maps else net.bn1(net.conv_stem((frames_bchw - self.mean) / self.std))
        for block in net.blocks[start:end]:
            x = block(x)
        return x

    @property
    def last_group(self) -> nn.Module:
        """See `Trunk`."""
        blocks = self.network.get_submodule("blocks")
        return nn.ModuleList(list(blocks.children())[-2:])

    def load(self, path: Path | None) -> None:
        """Loads the weights that the extra `imagenet` installs."""
        if path is not None:
            raise InputError("--model trunk imagenet: brings its own weights; leave out --weights")
        load_imagenet(self.network)
