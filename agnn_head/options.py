"""Options of the AGNN architecture; importing this module loads no library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mug.options import BackboneConfig


@dataclass
class EmbeddingConfig:
    """The network that maps a frame to a node's feature map."""

    kind: Literal["phi", "deeplab"] = "phi"
    """Trunk: MuG's phi, or the ResNet of torchvision's DeepLabV3."""
    backbone: BackboneConfig | None = None
    """Architecture of phi, for kind `phi` only. Default: that of the initial weights."""
    depth: int = 101
    """Layers of DeepLabV3's ResNet, 50 or 101, for kind `deeplab` only."""
    rates: tuple[int, int, int] = (6, 12, 18)
    """Dilations, in cells, of the pyramid's three 3x3 kernels. torchvision's own pyramid was trained at 12, 24, 36."""


@dataclass
class AGNNConfig:
    """Architecture of AGNN."""

    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    """Network that maps a frame to its node."""
    channels: int = 256
    """C, the channels of a node's state."""
    graph: bool = True
    """Whether to use the graph. Without it each frame is segmented alone, from the embedding (Table 6, "w/o AGNN")."""
    iterations: int = 3
    """K, the rounds of messages. With 0 the graph's readout sees each frame alone."""
    gated: bool = True
    """Whether messages pass the gate of Eq. 8; false gives "w/o Gated Message" of Table 6."""
