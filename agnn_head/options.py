"""What AGNN is built from: options, which load no library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mug.options import BackboneConfig


@dataclass
class EmbeddingConfig:
    """What maps a frame to a node's feature map."""

    kind: Literal["phi", "deeplab"] = "phi"
    """The trunk: MuG's phi, or the residual network of torchvision's DeepLabV3."""
    backbone: BackboneConfig | None = None
    """Which phi, for kind `phi` alone; when not given, that of the weights which training starts from."""
    depth: int = 101
    """Layers of DeepLabV3's ResNet, 50 or 101; read for kind `deeplab` alone."""
    rates: tuple[int, int, int] = (6, 12, 18)
    """Dilations, in cells, of the pyramid's three 3x3 kernels. torchvision trained its own pyramid at 12, 24, 36."""


@dataclass
class AGNNConfig:
    """What AGNN is built from."""

    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    """What maps a frame to its node."""
    channels: int = 256
    """C, of a node's state."""
    graph: bool = True
    """Without it the embedding's own output is the result, of each frame alone: the backbone (Table 6, "w/o AGNN")."""
    iterations: int = 3
    """K, rounds of messages. With 0 the readout of the graph sees each frame alone."""
    gated: bool = True
    """Whether messages pass the gate of Eq. 8; without it, Table 6, "w/o Gated Message"."""
