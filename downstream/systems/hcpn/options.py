"""Options of HCPN's architecture; importing this module loads no library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mug.errors import InputError
from mug.options import TrunkConfig

STAGES = 4
"""Stages of the cascade in the paper: one for each of the trunk's last maps."""


@dataclass
class HCPNConfig:
    """Architecture of HCPN; rows of the paper's Tables I to III are settings of it."""

    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    """Architecture of the trunks; each stream has one with weights of its own."""
    channels: int = 256
    """Channels of the decoder; those of the stages are the trunk's."""
    rates: tuple[int, int, int] = (6, 12, 18)
    """Dilations, in cells, of the decoder's pyramid."""
    input: Literal["both", "frames", "flow"] = "both"
    """What the streams see. `frames`: the motion stream sees frame k (Table I, "w/o OF"); `flow`: the appearance
    streams see the flow (Table I, "w/o VF")."""
    streams: int = 3
    """3, or 2 without the stream of frame k + 1 (Table I)."""
    cascades: int = STAGES
    """Number of stages with F_HCPN, the deepest ones (Table III); others concatenate motion and appearance."""
    pcm: bool = True
    """Whether to use the parallel co-attention; false adds motion to appearance cell by cell (Table II)."""
    stacks: int = 5
    """Rounds of soft attention and co-attention in the parallel co-attention; 1 is Eq. 2 alone."""
    reduction: int = 16
    """Factor by which P(X) reduces the channels that are compared, to at least 8."""
    ccm: bool = True
    """Whether to use the cross co-attention; false lets the motion stream go on by itself (Table II)."""
    fusion: Literal["gaf", "addition", "concatenation"] = "gaf"
    """How the cross co-attention combines the two frames (Table I)."""
    gac: Literal["paper", "released", "none"] = "paper"
    """Global-local attention context: Eq. 4, or the authors' released form without l2 normalisation; `none` leaves it
    out (Table II)."""
    mcr: bool = True
    """Whether the decoder predicts contours that restrict the mask (Table II)."""

    def check(self) -> None:
        """Raises `InputError` if a setting is out of range."""
        for name, least, usual in (("channels", 1, 256), ("stacks", 1, 5), ("reduction", 1, 16)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: {getattr(self, name)} is too little; use {least} or more ({usual} as usual)")
        if self.streams not in (2, 3):
            raise InputError(f"streams: {self.streams} is neither 2 nor 3; use 3 as in the paper, or 2")
        if not 0 <= self.cascades <= STAGES:
            raise InputError(f"cascades: {self.cascades} is out of range; use 0 to {STAGES}")
        for name, known in (
            ("input", ("both", "frames", "flow")),
            ("fusion", ("gaf", "addition", "concatenation")),
            ("gac", ("paper", "released", "none")),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"{name}: {getattr(self, name)!r} is unknown; use {', '.join(known)}")
