"""HCPN: three streams of feature maps, a cascade of co-attention, a bridge and a decoder (HCPN Sec. III)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from downstream.systems.hcpn.attention import ParallelCoAttention
from downstream.systems.hcpn.decoder import Decoder
from downstream.systems.hcpn.fusion import CrossCoAttention
from downstream.systems.hcpn.gates import ChannelAttention, GlobalLocalContext
from downstream.systems.hcpn.options import STAGES, HCPNConfig
from mug.networks.hub import Pretrained
from mug.networks.saved import Format
from mug.networks.trunk import Trunk, build_trunk


class Found(NamedTuple):
    """What HCPN says of the n frames of a pair: n = 2, or 1 with two streams."""

    masks: Tensor
    """Logits of P^m (B, n, 1, h, w)."""
    contours: Tensor | None
    """Logits of the contours P^r_j (B, n, J, h, w), from the deepest stage to the shallowest; None without MCR."""


class Stage(nn.Module):
    """F_HCPN of one stage: (V_k, V_k+1) from O_k, O^F and O_k+1 (HCPN Eq. 1 - 3).

    V_k = [N^+, N^] and V_k+1 = [N^+, N^'], where N^+ and N^ are added to the maps of the streams that they belong to:
    N^+ to O^F, N^ to O_k. Without, V would hold appearance only as weights of an average; the paper speaks of "motion
    feature maps including additional appearance information" and the authors' release adds them too.

    Args:
        channels: C.
        config: Architecture.
        passes: Whether there is a next stage.
    """

    def __init__(self, channels: int, config: HCPNConfig, passes: bool) -> None:
        super().__init__()
        self.pcm = ParallelCoAttention(channels, config.stacks, config.reduction) if config.pcm else None
        self.ccm = CrossCoAttention(channels, config.fusion) if config.ccm else None
        self.strength = nn.Parameter(torch.zeros(())) if config.ccm and passes else None

    def forward(self, motion_bchw: Tensor, frames: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """O^F and O of each frame, all (B, C, h, w) -> V of each frame (B, 2C, h, w), and O^F for the next stage.

        What the motion stream goes on with is O^F + s N^+. s starts at 0, where the trunk is as it was pretrained.
        """
        seen = [self._seen(frame, motion_bchw) for frame in frames]
        passed = after = motion_bchw
        if self.ccm is not None:
            fused = self.ccm(seen[0], seen[-1])
            after = motion_bchw + fused
            passed = motion_bchw if self.strength is None else motion_bchw + self.strength * fused
        return [torch.cat([after, frame + n], 1) for frame, n in zip(frames, seen, strict=True)], passed

    def _seen(self, frame_bchw: Tensor, motion_bchw: Tensor) -> Tensor:
        """N^ (B, C, h, w); without PCM the motion at the same cell."""
        if self.pcm is None:
            return motion_bchw
        n_bpc: Tensor = self.pcm(_by_position(frame_bchw), _by_position(motion_bchw))
        return n_bpc.transpose(1, 2).unflatten(2, frame_bchw.shape[-2:])


class Concatenated(nn.Module):
    """A stage without F_HCPN: V_k = [O^F, O_k]."""

    def forward(self, motion_bchw: Tensor, frames: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """See `Stage`."""
        return [torch.cat([motion_bchw, frame], 1) for frame in frames], motion_bchw


class HCPN(Pretrained):
    """Encoder, bridge and decoder; a pair of frames and the optical flow between them -> their masks.

    Args:
        config: Architecture.

    Raises:
        InputError: a setting is out of range, or an unknown trunk.
    """

    stored_as = "downstream.systems.hcpn.network:FORMAT"

    def __init__(self, config: HCPNConfig) -> None:
        super().__init__()
        config.check()
        self.config = config
        names = ("motion", "first", "second")[: config.streams]
        self.trunks = nn.ModuleDict({name: build_trunk(config.trunk) for name in names})
        trunk = cast(Trunk, self.trunks["motion"])
        self._before = max(trunk.count - STAGES, 0)
        widths = list(trunk.channels)[self._before :]
        plain = max(len(widths) - config.cascades, 0)
        self.stages = nn.ModuleList([
            Concatenated() if j < plain else Stage(width, config, j < len(widths) - 1)
            for j, width in enumerate(widths)
        ])  # fmt: skip
        gates = {"paper": GlobalLocalContext, "released": ChannelAttention, "none": lambda _: nn.Identity()}
        self.bridge = nn.ModuleList([gates[config.gac](2 * width) for width in widths])
        self.decoder = Decoder([2 * width for width in widths], config.rates, config.channels, config.mcr)

    def load_trunk(self, path: Path | None) -> None:
        """Loads initial weights, the same for each stream; see `mug.networks.trunk.Trunk.load`."""
        for trunk in self.trunks.values():
            cast(Trunk, trunk).load(path)

    def forward(self, frames_bnchw: Tensor, flow_bchw: Tensor | None = None) -> Found:
        """Masks of a pair of frames.

        Args:
            frames_bnchw: Frames k and k + 1, RGB (B, 2, 3, H, W) in [0, 1].
            flow_bchw: The flow from k to k + 1 in colours (B, 3, H, W) in [0, 1]; unused with `input` `frames`.

        Raises:
            ValueError: the flow is missing.
        """
        encoded = self.encode(frames_bnchw, flow_bchw)
        masks, contours = self.decoder([v_bnchw.flatten(0, 1) for v_bnchw in encoded])
        shape = encoded[0].shape[:2]
        return Found(masks.unflatten(0, shape), None if contours is None else contours.unflatten(0, shape))

    def encode(self, frames_bnchw: Tensor, flow_bchw: Tensor | None = None) -> list[Tensor]:
        """V^ of each stage, from shallow to deep: (B, n, 2 C_j, h_j, w_j) (Eq. 1 - 4).

        N^+ of a stage passes through the next group of the motion stream's trunk into the next stage.
        """
        seen = self._seen(frames_bnchw, flow_bchw)
        maps: dict[str, list[Tensor]] = {name: [] for name in self.trunks}
        encoded = []
        for level in range(cast(Trunk, self.trunks["motion"]).count):
            for name, trunk in self.trunks.items():
                maps[name].append(cast(Trunk, trunk).next_map(seen[name], maps[name]))
            if level < self._before:
                continue
            motion, *frames = (maps[name][-1] for name in self.trunks)
            gate = self.bridge[level - self._before]
            v, maps["motion"][-1] = self.stages[level - self._before](motion, frames)
            encoded.append(gate(torch.cat(v)).unflatten(0, (len(v), -1)).transpose(0, 1))
        return encoded

    def _seen(self, frames_bnchw: Tensor, flow_bchw: Tensor | None) -> dict[str, Tensor]:
        """What each stream sees (B, 3, H, W)."""
        first, second = frames_bnchw.unbind(1)
        if self.config.input == "frames":
            return {"motion": first, "first": first, "second": second}
        if flow_bchw is None:
            raise ValueError("the optical flow is missing")
        if self.config.input == "flow":
            first = second = flow_bchw
        return {"motion": flow_bchw, "first": first, "second": second}


def _by_position(x_bchw: Tensor) -> Tensor:
    return x_bchw.flatten(2).transpose(1, 2).contiguous()


FORMAT = Format("hcpn", HCPNConfig, HCPN)
"""Weights files of HCPN."""
