"""Options of the network and its loss; importing this module loads no library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class BackboneConfig:
    """Architecture of phi's residual network."""

    depth: int = 18
    """Layers of the torchvision ResNet: 18, 34, 50 or 101."""
    stages: int = 4
    """Residual groups to keep, 1 to 4. If the last does not have 512 channels, it is projected to 512."""
    stride: int = 8
    """Pixels of the frame per cell of the feature map: 4, 8 or 16."""
    dilated: bool = False
    """Whether groups that lose their stride are dilated instead, which keeps their receptive field."""
    hypercolumn: bool = False
    """Whether the trunk combines the outputs of all kept groups instead of using only the last. The matching head then
    sees fine colour and edges before deep layers learn to pass them on, which short training needs."""


@dataclass
class TrunkConfig:
    """The network that a supervised method begins with: a pyramid of feature maps of a frame."""

    kind: Literal["phi", "resnet", "imagenet"] = "phi"
    """MuG's phi; a ResNet of torchvision, whose weights are those of its classifier or of its DeepLabV3; or the
    EfficientNet-Lite0 whose weights the extra `imagenet` installs."""
    backbone: BackboneConfig | None = None
    """Architecture of phi, for kind `phi` only. Default: that of the initial weights."""
    depth: int = 101
    """Layers of the ResNet, 18, 34, 50, 101 or 152, for kind `resnet` only."""
    stride: int = 8
    """Pixels per cell of the last map, 8, 16 or 32, for `resnet` and `imagenet`; later groups are dilated instead."""
    caffe: bool = False
    """Whether the ResNet, for kind `resnet` only, is Caffe's, as in DeepLab's first releases and all that began with
    their weights: a group's stride is in its first 1x1 kernel, and dilation starts with its first block."""


@dataclass
class EmbeddingConfig(TrunkConfig):
    """A trunk and a pyramid of dilated convolutions on it, as in DeepLabV3."""

    rates: tuple[int, int, int] = (6, 12, 18)
    """Dilations, in cells, of the pyramid's three 3x3 kernels. torchvision's own pyramid was trained at 12, 24, 36."""
    wide: bool = False
    """Whether the pyramid is that of COSNet's and AGNN's released code: branches of 512 channels, joined by a 3x3
    kernel and a PReLU."""


PRESETS: dict[str, BackboneConfig] = {
    "paper": BackboneConfig(depth=50, stages=2, stride=4, dilated=True),
    "resnet18": BackboneConfig(depth=18, stages=4, stride=8, dilated=False),
}


@dataclass
class ModelConfig:
    """Architecture of MuG."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The network phi."""
    temperature: float = 0.07
    """Initial temperature of the affinity between matching features, 0.05 to 0.2; the known-warp loss trains it."""


@dataclass
class LossWeights:
    """The weight of each term (MuG Eq. 16); a term of weight 0 is not computed."""

    frame: float = 1.0
    """Foreground from a single frame, Eq. 2 and 15, on every frame of a step that has a map."""
    readout: float = 1.0
    """Foreground from the globally augmented frame; the paper trains it but omits it from Eq. 16."""
    short: float = 0.1
    """Forward-backward tracking, Eq. 5."""
    long: float = 0.02
    """Semantic matching of distant frames, Eq. 8."""
    video: float = 0.5
    """Discrimination of videos, Eq. 14."""
    warp: float = 0.0
    """Matching under a known warp; not in the paper."""
