"""COSNet (CVPR 2019), co-attention between a frame and reference frames of its video: its options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from downstream.options import BalancedOptions, CutConfig, SegmentOptions
from downstream.systems.base import Part, System
from downstream.training.options import SampleOptions
from mug.errors import InputError
from mug.options import EmbeddingConfig, TrunkConfig


@dataclass
class COSNetConfig:
    """Architecture of COSNet."""

    trunk: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    """Network that maps a frame to its features V."""
    channels: int = 256
    """C, the channels of V."""
    attention: Literal["symmetric", "vanilla", "channel-wise", "none"] = "symmetric"
    """Form of W in the affinity V_b^T W V_a: P^T D P with P orthogonal, any matrix, or diagonal; `none` segments each
    frame alone (Table 1)."""
    layers: int = 2
    """3x3 convolutions of the segmentation head; the released code has 1."""


@dataclass
class ReferenceConfig(CutConfig):
    """Inference options of COSNet."""

    option = "reference"
    count: int = 5
    """N, reference frames of each frame."""
    sampling: Literal["uniform", "random", "consecutive"] = "uniform"
    """Which frames are references: the middles of N equal segments of the video, N random frames of the video, or the N
    nearest neighbours of each frame."""
    fusion: Literal["summary", "prediction"] = "summary"
    """What is averaged over the references: their attention summaries (Eq. 13), or the maps that each alone gives."""
    seed: int = 0
    """Seed of `random` sampling."""

    def check(self) -> None:
        """Raises `InputError` if a setting is out of range."""
        super().check()
        if self.count < 1:
            raise InputError(
                f"--reference.count {self.count}: must be at least 1; without references, train with --model.attention "
                "none, as the paper's N = 0"
            )
        if self.seed < 0:
            raise InputError(f"--reference.seed {self.seed}: must be at least 0")


@dataclass(kw_only=True)
class COSNetSegmentOptions(SegmentOptions):
    """`mug segment --system cosnet`."""

    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    """Inference options of COSNet."""


@dataclass(kw_only=True)
class COSNetFinetuneOptions(BalancedOptions):
    """`mug finetune cosnet`."""

    model: COSNetConfig = field(default_factory=COSNetConfig)
    """The network architecture."""
    sample: SampleOptions = field(default_factory=lambda: SampleOptions(nodes=2))
    """Sampling of training frames: pairs."""

    @property
    def trunk(self) -> TrunkConfig:
        """See `FinetuneOptions`."""
        return self.model.trunk


SYSTEM = System(
    zero_shot=Part(COSNetSegmentOptions, "downstream.systems.cosnet.inference:open_zero_shot"),
    training=Part(COSNetFinetuneOptions, "downstream.systems.cosnet.training:COSNetTraining"),
    format="downstream.systems.cosnet.network:FORMAT",
    released="downstream.systems.cosnet.released:released",
    exported="downstream.systems.cosnet.exported:parts",
)
