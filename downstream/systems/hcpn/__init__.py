"""HCPN (TIP 2023), co-attention of frames and optical flow in a cascade: its options."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from downstream.options import FinetuneOptions, SegmentOptions
from downstream.systems.base import Part, System
from downstream.systems.hcpn.options import HCPNConfig
from downstream.training.options import SampleOptions
from mug.errors import InputError
from mug.options import TrunkConfig


@dataclass
class PairConfig:
    """Inference options of HCPN."""

    side: int | None = None
    """Side in pixels of the square that frames and flow are resized to; by default the training size."""
    raft: Path | None = None
    """Weights of torchvision's RAFT for the optical flow; DIS by default."""
    flip: bool = False
    """Also average over mirrored frames."""

    def check(self) -> None:
        """Raises `InputError` if a setting is out of range."""
        if self.side is not None and self.side < 32:
            raise InputError(f"--pair.side {self.side}: must be at least 32 pixels")


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
)
