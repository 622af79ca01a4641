"""Options of fine-tuning samples; importing them loads no library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mug.errors import InputError


@dataclass
class SampleOptions:
    """Sampling and augmentation of training frames."""

    size: int = 473
    """Height in pixels that frames are resized to, ignoring their aspect ratio as in the papers."""
    width: int | None = None
    """Width in pixels; by default the height."""
    videos: int = 2
    """Videos (or groups) per step, over all processes."""
    nodes: int = 3
    """N', frames per video."""
    crop: float = 0.6
    """Minimum share of the frame's area in a random crop."""
    aspect: float = 1.33
    """Maximum change of the crop's aspect ratio, as a factor."""
    turn: float = 0.0
    """Maximum rotation in degrees; corners without a frame are black and void."""
    jitter: float = 0.3
    """Maximum change of brightness, contrast and saturation, as a share."""
    hue: float = 0.05
    """Maximum change of hue, as a share of the colour circle."""

    def __post_init__(self) -> None:
        """Raises `InputError` if a setting is out of range."""
        for name, least in (("size", 16), ("videos", 1), ("nodes", 1), ("aspect", 1)):
            if getattr(self, name) < least:
                raise InputError(f"sample.{name}: {getattr(self, name)} is too little; use {least} or more")
        for name in ("crop", "jitter", "hue"):
            if not 0 <= getattr(self, name) <= (0.5 if name == "hue" else 1):
                raise InputError(f"sample.{name}: {getattr(self, name)} is out of range; use 0 to 1 (hue: 0.5)")
        if not 0 <= self.turn <= 180:
            raise InputError(f"sample.turn: {self.turn} is out of range; use 0 to 180 degrees")
        if self.width is not None and self.width < 16:
            raise InputError(f"sample.width: {self.width} is too little; use 16 or more")
        if self.crop == 0:
            raise InputError("sample.crop: 0 leaves nothing to see; use more than 0")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels that frames are resized to."""
        return self.size, self.width or self.size


@dataclass(frozen=True)
class Clip:
    """Which frames of a video make a sample, as the method needs them."""

    choose: Literal["spread", "successive", "any"] = "spread"
    """`spread`: one of each of N' equal segments; `successive`: N' in order, at equal distances; `any`: any N'."""
    gap: int = 1
    """Largest distance between `successive` frames; it is drawn for each sample."""
    objects: bool = False
    """Whether masks keep the ids of objects; else all are merged into one."""
    flow: bool = False
    """Whether the optical flow from each frame to the next comes along; for `successive` frames with a `gap` of 1."""


DEFAULT_CLIP = Clip()
