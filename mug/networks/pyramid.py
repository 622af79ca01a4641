"""Atrous spatial pyramid pooling, and a trunk with it: the feature maps of DeepLabV3 (Chen et al. 2017)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mug.checkpoint import check_same
from mug.networks.tensors import read_tensors, without_prefix
from mug.networks.trunk import ResNetTrunk, build_trunk
from mug.norm import BatchNorm
from mug.options import EmbeddingConfig

WIDE = 512
"""Channels of each branch of the wide pyramid."""

TORCHVISION_RATES = (12, 24, 36)
"""Dilations of the pyramid in torchvision's DeepLabV3."""


class Embedding(nn.Module):
    """The last map of a trunk behind a pyramid of dilated convolutions (F_DeepLab of AGNN Eq. 3).

    Args:
        config: The trunk and the pyramid.
        channels: C of the feature map.

    Raises:
        InputError: an unknown trunk.
    """

    def __init__(self, config: EmbeddingConfig, channels: int) -> None:
        super().__init__()
        self.trunk = build_trunk(config)
        self.aspp = ASPP(self.trunk.channels[-1], config.rates, channels, config.wide)
        self._as_torchvision = tuple(config.rates) == TORCHVISION_RATES and not config.wide

    def forward(self, frames_bchw: Tensor) -> Tensor:
        """RGB frames (B, 3, H, W) in [0, 1] -> (B, C, h, w), h = ceil(H / stride).

        Non-negative, except for the wide pyramid.
        """
        return self.aspp(self.trunk(frames_bchw)[-1])

    def load(self, path: Path | None) -> None:
        """Loads initial weights of the trunk, and of the pyramid from torchvision's DeepLabV3 at its own rates.

        Raises:
            InputError: see `mug.networks.trunk.Trunk.load`.
        """
        self.trunk.load(path)
        if path is None or not isinstance(self.trunk, ResNetTrunk) or not self._as_torchvision:
            return
        file = without_prefix(read_tensors(path), ["classifier.0.convs.0.0.weight"])
        tensors = _fold_pooled_norm(
            {name.removeprefix("classifier.0."): x for name, x in file.items() if name.startswith("classifier.0.")}
        )
        if not tensors:  # a classifier's
            return
        expected = self.aspp.state_dict()
        counts = {name for name in expected if name.endswith("num_batches_tracked")}  # older files have none
        tensors = {name: x for name, x in tensors.items() if name not in counts}
        check_same(path, tensors, {name: x for name, x in expected.items() if name not in counts})
        self.aspp.load_state_dict(tensors, strict=False)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (DeepLabV3, Chen et al. 2017) with torchvision's names for the convolutions.

    The pooled branch has a single value per frame and channel. Batch statistics over the few frames of a step would be
    noise, and over one frame undefined, so it has a bias instead of a norm.
    """

    def __init__(self, in_channels: int, rates: tuple[int, int, int], channels: int, wide: bool = False) -> None:
        super().__init__()
        width = WIDE if wide else channels
        pyramid = [convolution(in_channels, width, 1)] + [convolution(in_channels, width, 3, rate) for rate in rates]
        self.convs = nn.ModuleList(pyramid)
        self.pooled = nn.Conv2d(in_channels, width, 1)
        self.project = convolution((len(pyramid) + 1) * width, channels, 3 if wide else 1)
        if wide:
            self.project[-1] = nn.PReLU()

    def forward(self, x_bchw: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, channels, h, w)."""
        pooled = self.pooled(x_bchw.mean((2, 3), keepdim=True)).relu()
        branches = [conv(x_bchw) for conv in self.convs]
        return self.project(torch.cat([*branches, pooled.expand_as(branches[0])], 1))


def convolution(in_channels: int, out_channels: int, kernel: int, rate: int = 1) -> nn.Sequential:
    """A convolution that keeps the grid, with batch norm and ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=rate * (kernel // 2), dilation=rate, bias=False)
    return nn.Sequential(conv, BatchNorm(out_channels), nn.ReLU())


def _fold_pooled_norm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Folds the batch norm of torchvision's pooled branch into its convolution, which gains a bias."""
    branch = {name.removeprefix("convs.4."): x for name, x in tensors.items() if name.startswith("convs.4.")}
    rest = {name: x for name, x in tensors.items() if not name.startswith("convs.4.")}
    if not {"1.weight", "2.weight", "2.bias", "2.running_mean", "2.running_var"} <= branch.keys():
        return rest
    scale = branch["2.weight"] / torch.sqrt(branch["2.running_var"] + 1e-5)
    rest["pooled.weight"] = branch["1.weight"] * scale.view(-1, 1, 1, 1)
    rest["pooled.bias"] = branch["2.bias"] - branch["2.running_mean"] * scale
    return rest
