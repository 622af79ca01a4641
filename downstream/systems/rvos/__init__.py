"""RVOS (CVPR 2019), a network that is recurrent over the objects of a frame and over the frames: its options.

RSIS (2017) is its special case without the temporal recurrence, and RIS (ECCV 2016) in addition with a single level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from downstream.instances.options import MOST_TRACKS
from downstream.options import FinetuneOptions, PropagateOptions, SegmentOptions
from downstream.systems.base import Part, System
from mug.errors import InputError
from mug.options import TrunkConfig


@dataclass
class RVOSConfig:
    """Architecture of RVOS."""

    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    """The encoder."""
    task: Literal["zero-shot", "one-shot"] = "one-shot"
    """Whether the decoder finds the objects (`mug segment`), or gets the previous mask of each as one more channel
    (`mug propagate`)."""
    recurrence: Literal["both", "spatial", "temporal"] = "both"
    """What the decoder remembers: the previous object of the frame (`spatial`, as in RSIS), the same object in the
    previous frame (`temporal`), or both. The paper's rows S, T and ST. In zero-shot, `temporal` has the spatial
    recurrence in the first frame, without which all predictions would be the same."""
    hidden: int = 128
    """Channels of the deepest level; each next level has half as many."""
    levels: int | None = None
    """Levels of the decoder, for the deepest maps of the encoder; by default one for each of its maps."""
    readout: int = 1
    """Side of the kernel that turns the last state into a mask: 1 as published, 3 as in the authors' release."""
    stop: bool = True
    """Stop score of each prediction (RSIS), in zero-shot. The authors' release has none."""


@dataclass
class InputConfig:
    """Size of the network's input; options of all commands."""

    size: int | None = None
    """Height in pixels that frames are resized to; by default as in training."""
    width: int | None = None
    """Width in pixels that frames are resized to; by default as in training."""

    def check(self) -> None:
        """Raises `InputError` if a setting is out of range."""
        for name in ("size", "width"):
            if (side := getattr(self, name)) is not None and side < 32:
                raise InputError(f"--{name} {side}: must be at least 32 pixels")


@dataclass(kw_only=True)
class RVOSSegmentOptions(InputConfig, SegmentOptions):
    """`mug segment --system rvos`."""

    objects: int = 10
    """Maximum number of objects per frame; each keeps its id through the video."""
    stop: float = 0.5
    """The objects of a frame end at the first whose stop score is lower; 0 keeps all."""

    def check(self) -> None:
        """Raises `InputError` if a setting is out of range."""
        super().check()
        if not 1 <= self.objects <= MOST_TRACKS:
            raise InputError(f"--objects {self.objects}: must be 1 to {MOST_TRACKS}, as the benchmark takes")
        if not 0 <= self.stop <= 1:
            raise InputError(f"--stop {self.stop}: must be 0 to 1")

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        if not self.instances:
            return super().unused()
        reason = "rvos tells objects apart by itself and writes their ids"
        return dict.fromkeys(("instance", "refine", "raw", "soft"), reason)


@dataclass(kw_only=True)
class RVOSPropagateOptions(InputConfig, PropagateOptions):
    """`mug propagate --system rvos`."""


@dataclass(kw_only=True)
class RVOSFinetuneOptions(FinetuneOptions):
    """`mug finetune rvos`."""

    model: RVOSConfig = field(default_factory=RVOSConfig)
    """The network architecture."""
    objects: int = 10
    """Maximum number of predictions per frame. More objects of a clip are not learned from."""
    gap: int = 1
    """Maximum distance between successive annotated frames of a clip; it is drawn for each clip."""
    given_steps: int | None = None
    """One-shot: the first steps, in which the decoder gets true previous masks (ST); in the others it gets its own
    (ST+). By default half of the steps, as in the paper."""
    stop_weight: float = 0.5
    """Zero-shot: weight of the stop score's loss."""

    @property
    def trunk(self) -> TrunkConfig:
        """See `FinetuneOptions`."""
        return self.model.trunk

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        unused = dict(super().unused())
        if self.start is not None:  # the weights say the task
            return unused
        if self.model.task == "zero-shot":
            unused["given_steps"] = "is of --model.task one-shot: in zero-shot no mask is given"
            if not self.model.stop:
                unused["stop_weight"] = "is of the stop score that --no-model.stop leaves out"
        else:
            reason = "is of --model.task zero-shot: in one-shot the objects are given"
            unused |= dict.fromkeys(("model.stop", "stop_weight"), reason)
        return unused


SYSTEM = System(
    zero_shot=Part(RVOSSegmentOptions, "downstream.systems.rvos.inference:open_zero_shot"),
    one_shot=Part(RVOSPropagateOptions, "downstream.systems.rvos.inference:open_one_shot"),
    training=Part(RVOSFinetuneOptions, "downstream.systems.rvos.training:RVOSTraining"),
    format="downstream.systems.rvos.network:FORMAT",
    released="downstream.systems.rvos.released:from_authors",
)
