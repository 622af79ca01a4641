"""A-GAME (CVPR 2019), a generative model of appearance inside a network for O-VOS: its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from downstream.options import FinetuneOptions, PropagateOptions
from downstream.systems.base import Part, System
from mug.errors import InputError
from mug.options import TrunkConfig


@dataclass
class AGAMEConfig:
    """Architecture of A-GAME. The options that are switches are the ablations of the paper's Table 1."""

    trunk: TrunkConfig = field(default_factory=lambda: TrunkConfig(stride=16))
    """Network that gives the features of a frame."""
    channels: int = 512
    """C, features of the appearance model."""
    width: int = 512
    """Channels of mask propagation and fusion."""
    fine: int = 128
    """Channels of the fused map and of its upsampling."""
    appearance: bool = True
    """Whether to use the appearance model."""
    propagation: bool = True
    """Whether to use mask propagation."""
    reference: bool = True
    """Whether mask propagation also sees the frame of the given mask, as in RGMP and the authors' release."""
    mixture: bool = True
    """Whether background and object have a second component for distractors (K = 4); else one each (K = 2)."""
    update_rate: float = 0.1
    """lambda, the weight of a frame's estimate in the appearance model; 0 keeps that of the given mask."""
    scores: Literal["log", "softmax"] = "log"
    """What fusion is fed: the log scores s_k, or their softmax, the posterior of each component."""
    end_to_end: bool = True
    """Whether training differentiates the estimation of the appearance model; else its parameters are constants."""


@dataclass
class AGAMEOneShot:
    """O-VOS options of A-GAME."""

    size: int | None = None
    """Shorter side in pixels of the network's input; by default as in training, or the video's own if that is unknown.
    """
    feedback: Literal["final", "coarse"] = "final"
    """The masks that the next frame is segmented with: the final ones, as released, or the coarse ones, as in
    training."""
    batch: int = 4
    """Objects processed at a time; more are faster on a GPU and need more memory. The masks are the same."""

    def check(self) -> None:
        """Raises `InputError` if a setting is out of range."""
        if self.size is not None and self.size < 32:
            raise InputError(f"--size {self.size}: must be at least 32 pixels")
        if self.batch < 1:
            raise InputError(f"--batch {self.batch}: must be at least 1")


@dataclass(kw_only=True)
class AGAMEPropagateOptions(AGAMEOneShot, PropagateOptions):
    """`mug propagate --system agame`."""


@dataclass(kw_only=True)
class AGAMEFinetuneOptions(FinetuneOptions):
    """`mug finetune agame`."""

    model: AGAMEConfig = field(default_factory=AGAMEConfig)
    """The network architecture."""
    gap: int = 1
    """Largest distance between successive frames of a sample; it is drawn for each sample."""
    objects: int = 1
    """Largest number of objects of a sample, drawn from those of its first frame; the others are background."""
    tune: Literal["last", "all"] = "last"
    """Layers of the trunk that are trained: those of its last map, or all."""
    auxiliary: float = 1.0
    """Weight of the cross-entropy of the coarse mask."""

    @property
    def trunk(self) -> TrunkConfig:
        """See `FinetuneOptions`."""
        return self.model.trunk

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        unused = dict(super().unused())
        if self.scratch:
            unused["tune"] = "a trunk that begins at random (--scratch) is trained as a whole"
        elif self.trunk_rate == 0:
            unused["tune"] = "--trunk_rate 0 trains none of the trunk"
        if not self.model.appearance:
            names = ("channels", "mixture", "update_rate", "scores", "end_to_end")
            unused |= dict.fromkeys((f"model.{name}" for name in names), "is of the appearance model, which is off")
        if not self.model.propagation:
            unused["model.reference"] = "is of mask propagation, which is off"
        return unused


SYSTEM = System(
    one_shot=Part(AGAMEPropagateOptions, "downstream.systems.agame.inference:open_one_shot"),
    format="downstream.systems.agame.network:FORMAT",
    training=Part(AGAMEFinetuneOptions, "downstream.systems.agame.training:AGAMETraining"),
    released="downstream.systems.agame.released:released",
)
