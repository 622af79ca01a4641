"""MuG (CVPR 2020) after training: options for Z-VOS, and for O-VOS by matching."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from downstream.backbones.names import OURS
from downstream.one_shot.protocols import PRESETS, Looks, Preset, Witnesses, check_temperature, heard_looks
from downstream.options import PropagateOptions, SegmentOptions
from downstream.systems.base import Part, System
from downstream.zero_shot.options import ZeroShotConfig
from mug.errors import InputError


@dataclass
class MuGZeroShot(ZeroShotConfig):
    """Z-VOS options of MuG."""

    backbone: str = OURS
    """Feature extractor for `--mode adapted` and for carrying instances: `mug`, or another as for `mug propagate`
    (`torchvision:resnet18:layer3`)."""
    temperature: float | None = None
    """Matching temperature for carrying masks in the adapted mode; by default that of MuG's weights, or 0.05 for
    another backbone (`mug calibrate` finds a better one)."""

    def check(self) -> None:
        """Raises `InputError` if a setting is out of range."""
        super().check()
        check_temperature(self.temperature)


@dataclass
class MuGOneShot:
    """O-VOS options of MuG: propagation by matching (MuG Eq. 17)."""

    backbone: str = OURS
    """Feature extractor for matching: `mug`, `imagenet`, `torchvision:NAME[:LAYER]` or `timm:NAME[:LAYER]`, such as
    `torchvision:resnet18:layer3`; or your own function, `your_module:your_function`."""
    preset: Preset = "mug"
    """Protocol: `mug` is ours, `paper` is MuG Eq. 17 to the letter, the others are the published ones of those names
    (docs/protocols.md)."""
    size: int | None = None
    """Shorter side in pixels of the backbone's input; by default the preset's."""
    temperature: float | None = None
    """Softmax temperature of the similarities; by default the published one, or that of the weights for `mug` and
    `paper`."""
    evidence: Witnesses | None = None
    """Cues combined with matching in every frame: `motion`, `appearance`, `both` or `none`. By default the preset's:
    both for `mug`, none for the others."""
    appearance: Looks = "ridge"
    """Model of appearance among these cues: `ridge`, a linear readout, or `gaussian`, the generative model of A-GAME
    (CVPR 2019)."""
    causal: bool = False
    """Segment each frame from past frames only, as in a live stream."""

    def check(self) -> None:
        """Raises `InputError` if a setting is out of range."""
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

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        heard = self.evidence or PRESETS[self.preset].evidence
        if heard_looks(heard):
            return {}
        return {"appearance": f"--evidence {heard} leaves appearance out; give --evidence appearance or both"}


SYSTEM = System(
    format="mug.checkpoint:FORMAT",
    exported="downstream.systems.mug.exported:parts",
    zero_shot=Part(MuGSegmentOptions, "downstream.systems.mug.main_object:open_zero_shot"),
    one_shot=Part(MuGPropagateOptions, "downstream.systems.mug.matching:open_one_shot"),
)
