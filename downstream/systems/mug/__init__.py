"""MuG (CVPR 2020) once trained, Z-VOS and by matching O-VOS: its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from downstream.backbones.names import OURS
from downstream.one_shot.protocols import Preset, Witnesses, check_temperature
from downstream.options import PropagateOptions, SegmentOptions
from downstream.systems.base import Part, System
from downstream.zero_shot.options import ZeroShotConfig
from mug.errors import InputError


@dataclass
class MuGZeroShot(ZeroShotConfig):
    """How MuG finds the main object."""

    backbone: str = OURS
    """What the adapted mode reads of a frame, and instances are carried by: `mug`, or another as `mug propagate` takes
    them (`torchvision:resnet18:layer3`)."""
    temperature: float | None = None
    """Of matching, where the adapted mode carries masks; when not given, what MuG's weights say suits them, and of
    another backbone 0.05 (`mug calibrate` tells)."""

    def check(self) -> None:
        """Raises `InputError` where a setting is out of range."""
        super().check()
        check_temperature(self.temperature)


@dataclass
class MuGOneShot:
    """How masks are carried by matching (MuG Eq. 17)."""

    backbone: str = OURS
    """What frames are compared by: `mug`, `imagenet`, `torchvision:NAME[:LAYER]` or `timm:NAME[:LAYER]`, as in
    `torchvision:resnet18:layer3`; or a function of your own, `your_module:your_function`."""
    preset: Preset = "mug"
    """The protocol: `mug` is ours, `paper` is MuG Eq. 17 to the letter, the others are the published ones of that name
    (docs/protocols.md)."""
    size: int | None = None
    """Pixels of the frame's shorter side as the backbone sees it; the preset's when not given."""
    temperature: float | None = None
    """Of the softmax over similarities; when not given, the published one, or for `mug` and `paper` what the weights
    say suits them."""
    evidence: Witnesses | None = None
    """What joins matching in every frame: that an object moves (`motion`), what it looks like (`appearance`), `both` or
    `none`. The preset's when not given: both for `mug`, none for the others."""
    causal: bool = False
    """Segment each frame from the frames before it alone, as a live stream would have it."""

    def check(self) -> None:
        """Raises `InputError` where a setting is out of range."""
        check_temperature(self.temperature)
        if self.size is not None and self.size < 32:
            raise InputError(f"--size {self.size}: must be at least 32 pixels")


@dataclass(kw_only=True)
class MuGSegmentOptions(MuGZeroShot, SegmentOptions):
    """`mug segment --system mug`."""

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        unused = dict(super().unused())
        if self.mode == "paper":
            reason = "belongs to --mode adapted; --mode paper is MuG's own readout"
            return unused | dict.fromkeys(("backbone", "carry", "temperature"), reason)
        unused |= {} if self.carry else {"temperature": "is of the matching that --no-carry leaves out"}
        if self.backbone != OURS:
            unused["references"] = f"is read of MuG's own features; --backbone {self.backbone} has none"
        return unused


@dataclass(kw_only=True)
class MuGPropagateOptions(MuGOneShot, PropagateOptions):
    """`mug propagate --system mug`."""


SYSTEM = System(
    zero_shot=Part(MuGSegmentOptions, "downstream.systems.mug.main_object:open_zero_shot"),
    one_shot=Part(MuGPropagateOptions, "downstream.systems.mug.matching:open_one_shot"),
)
