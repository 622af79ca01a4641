"""HCPN (TIP 2023), co-attention of frames and optical flow in a cascade: its options."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from downstream.options import FinetuneOptions, SegmentOptions, SquareConfig
from downstream.systems.base import Part, System
from downstream.systems.hcpn.options import HCPNConfig
from downstream.training.options import SampleOptions
from mug.options import TrunkConfig


@dataclass
class PairConfig(SquareConfig):
    """Inference options of HCPN."""

    option = "pair"
    raft: Path | None = None
    """Weights of torchvision's RAFT for the optical flow; DIS by default."""
    flip: bool = False
    """Also average over mirrored frames."""


@dataclass(kw_only=True)
class HCPNSegmentOptions(SegmentOptions):
    """`mug segment --system hcpn`."""

    pair: PairConfig = field(default_factory=PairConfig)
    """Inference options of HCPN."""


@dataclass(kw_only=True)
class HCPNFinetuneOptions(FinetuneOptions):
    """`mug finetune hcpn`."""

    model: HCPNConfig = field(default_factory=HCPNConfig)
    """The network architecture."""
    sample: SampleOptions = field(default_factory=lambda: SampleOptions(nodes=2))
    """Sampling of training frames: pairs of successive annotated frames."""
    raft: Path | None = None
    """Weights of torchvision's RAFT for the optical flow; DIS by default."""
    flows: Path | None = None
    """Folder for the optical flow, computed once; by default in the run's. One for each dataset and split."""
    head_rate: float = 1.0
    """Learning rate factor of the decoder."""
    stage_rate: float = 1.0
    """Learning rate factor of the co-attention and the bridge."""
    contour_weight: float = 1.0
    """Weight of the contours' term of Eq. 6."""

    @property
    def trunk(self) -> TrunkConfig:
        """See `FinetuneOptions`."""
        return self.model.trunk


SYSTEM = System(
    zero_shot=Part(HCPNSegmentOptions, "downstream.systems.hcpn.inference:open_zero_shot"),
    training=Part(HCPNFinetuneOptions, "downstream.systems.hcpn.training:HCPNTraining"),
    format="downstream.systems.hcpn.network:FORMAT",
    released="downstream.systems.hcpn.released:translate",
    exported="downstream.systems.hcpn.exported:parts",
)
