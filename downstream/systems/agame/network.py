"""The network of A-GAME: frame by frame, every object by itself (Johnander et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from downstream.backbones.lattice import EVEN
from downstream.one_shot.aggregate import aggregate
from downstream.one_shot.gaussians import Gaussians
from downstream.systems.agame import AGAMEConfig
from downstream.systems.agame.appearance import Appearance
from downstream.systems.agame.fusion import Fusion, Upsampling
from downstream.systems.agame.propagation import MaskPropagation
from mug.errors import InputError
from mug.networks.hub import Pretrained
from mug.networks.saved import Format
from mug.networks.trunk import build_trunk

SHALLOWEST = 4
"""Stride in pixels of the shallowest map that upsampling joins."""


class Seen(NamedTuple):
    """What B frames give to all of their objects."""

    deep: Tensor
    """(B, D, h, w), the trunk's last map."""
    looks: Tensor | None
    """(B, C, h, w), features of the appearance model."""
    frame: Tensor | None
    """(B, width, h, w), the frame's part of mask propagation."""
    skips: list[Tensor]
    """(B, fine, h_k, w_k), from deep to shallow."""

    def of(self, counts: Sequence[int]) -> Seen:
        """One row for each object, where frame b has `counts[b]` objects."""
        rows = torch.repeat_interleave(torch.tensor(counts)).to(self.deep.device)

        def repeated(x: Tensor) -> Tensor:
            return x.expand(*counts, -1, -1, -1) if len(counts) == 1 else x[rows]  # without a copy if it is one frame

        return self._each(repeated)

    def at(self, t: int, clips: Sequence[int]) -> Seen:
        """Frame t of each clip, of B * N frames that were seen together, `clips` being B and N."""
        return self._each(lambda x: x.unflatten(0, clips)[:, t])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Seen:
        looks, frame = (None if x is None else change(x) for x in (self.looks, self.frame))
        return Seen(change(self.deep), looks, frame, [change(x) for x in self.skips])


class State(NamedTuple):
    """What is remembered of M objects: its size does not depend on the length of the video."""

    mask: Tensor
    """(M, 1, h, w) in [0, 1], the mask of the frame before."""
    theta: Gaussians | None
    """The appearance model."""
    reference: Tensor | None
    """(M, width, h, w), the part of mask propagation of the frame with the given mask."""


class AGAME(Pretrained):
    """Trunk, appearance model, mask propagation, fusion and upsampling; objects share all weights.

    Raises:
        InputError: an option is out of range, or an unknown trunk.
    """

    stored_as = "downstream.systems.agame.network:FORMAT"

    def __init__(self, config: AGAMEConfig) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.trunk = build_trunk(config.trunk)
        channels, strides = self.trunk.channels, self.trunk.strides
        # of several maps of a stride, the deepest
        deepest = {s: k for k, s in enumerate(strides) if SHALLOWEST <= s < strides[-1]}
        self._skips = [deepest[stride] for stride in sorted(deepest, reverse=True)]
        components = (4 if config.mixture else 2) if config.appearance else 0
        if config.appearance:
            self.appearance = Appearance(
                channels[-1],
                config.channels,
                4 if config.mixture else 2,
                config.update_rate,
                config.scores,
                config.end_to_end,
            )
        if config.propagation:
            self.propagation = MaskPropagation(channels[-1], config.width, config.reference)
        self.fusion = Fusion(components, config.width if config.propagation else 0, config.width, config.fine)
        self.upsampling = Upsampling([channels[k] for k in self._skips], config.fine)

    def load_trunk(self, path: Path | None) -> None:
        """Loads initial weights of the trunk; see `mug.networks.trunk.Trunk.load`."""
        self.trunk.load(path)

    @property
    def stride(self) -> int:
        """Pixels per cell of the grid that masks are remembered on."""
        return self.trunk.strides[-1]

    def forward(self, frames_bnchw: Tensor, given_m1hw: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Carries masks through clips; the coarse masks, aggregated over the objects of a video, are fed back.

        Args:
            frames_bnchw: N frames of each of B videos, RGB (B, N, 3, H, W) in [0, 1].
            given_m1hw: Masks of the M objects in the first frames, (M, 1, H, W) in [0, 1], video by video.
            counts: Objects of each video; M in all, at least 1.

        Returns:
            Logits of the coarse masks, (M, N - 1, h, w), and of the final ones, (M, N - 1, h', w').
        """
        clips = frames_bnchw.shape[:2]
        both = self.see(frames_bnchw.flatten(0, 1))
        frames = [both.at(t, clips).of(counts) for t in range(clips[1])]
        state = self.begin(frames[0], given_m1hw)
        coarse, final = [], []
        for seen in frames[1:]:
            rough, fine = self.step(seen, state)
            masks = torch.cat([aggregate(own)[1:] for own in rough.split(list(counts)) if len(own)])
            state = self.update(seen, state, masks)
            coarse.append(rough[:, 0])
            final.append(fine[:, 0])
        return torch.stack(coarse, 1), torch.stack(final, 1)

    def see(self, frames_bchw: Tensor) -> Seen:
        """All that does not depend on the object, of RGB frames (B, 3, H, W) in [0, 1]."""
        maps = [x / scale for x, scale in zip(self.trunk(frames_bchw), self.trunk.scales, strict=True)]
        looks = self.appearance.look(maps[-1]) if self.config.appearance else None
        frame = self.propagation.frame(maps[-1]) if self.config.propagation else None
        return Seen(maps[-1], looks, frame, self.upsampling.skips([maps[k] for k in self._skips]))

    def begin(self, seen: Seen, given_m1hw: Tensor) -> State:
        """The state after the frame of the given masks, (M, 1, H, W) in [0, 1]; `seen` has a row for each object."""
        mask = self.on_grid(given_m1hw, seen)
        theta = self.appearance.begin(seen.looks, mask) if seen.looks is not None else None
        return State(mask, theta, self.propagation.begin(seen.deep, mask) if self.config.propagation else None)

    def step(self, seen: Seen, state: State) -> tuple[Tensor, Tensor]:
        """Logits of the coarse masks (M, 1, h, w) and of the final ones (M, 1, h', w') in the next frame."""
        scores = moved = None
        if state.theta is not None:
            scores = self.appearance(seen.looks, state.theta)
        if seen.frame is not None:
            moved = self.propagation(seen.frame, state.mask, state.reference)
        fused, coarse = self.fusion(scores, moved)
        return coarse, self.upsampling(fused, seen.skips)

    def update(self, seen: Seen, state: State, masks_m1hw: Tensor) -> State:
        """The state after a frame, with its masks (M, 1, ...) in [0, 1] of any size."""
        mask = self.on_grid(masks_m1hw, seen)
        theta = state.theta
        if theta is not None and seen.looks is not None:
            theta = self.appearance.update(theta, seen.looks, mask)
        return State(mask, theta, state.reference)

    def on_grid(self, masks_m1hw: Tensor, seen: Seen) -> Tensor:
        """Share of each cell that a mask covers: (M, 1, H, W) -> (M, 1, h, w)."""
        return EVEN.shrink(masks_m1hw, seen.deep.shape[-2:])


def joined(states: Sequence[State]) -> State:
    """The states of several objects as one."""
    masks, thetas, references = zip(*states, strict=True)
    theta = None if thetas[0] is None else Gaussians(*(torch.cat(x) for x in zip(*thetas, strict=True)))
    return State(torch.cat(masks), theta, None if references[0] is None else torch.cat(references))


def parted(state: State) -> list[State]:
    """The inverse of `joined`, for states of one object each."""
    mask, theta, reference = state
    return [
        State(
            mask[m : m + 1],
            None if theta is None else Gaussians(*(x[m : m + 1] for x in theta)),
            None if reference is None else reference[m : m + 1],
        )
        for m in range(len(mask))
    ]


def _check(config: AGAMEConfig) -> None:
    for name in ("channels", "width", "fine"):
        if getattr(config, name) < 1:
            raise InputError(f"model.{name}: {getattr(config, name)} is too few; use 1 or more")
    if not 0 <= config.update_rate <= 1:
        raise InputError(f"model.update_rate: {config.update_rate} is out of range; use 0 to 1 (0.1 in the paper)")
    if not config.appearance and not config.propagation:
        raise InputError("model.appearance: nothing is left to carry masks with; keep it or model.propagation")


FORMAT = Format("agame", AGAMEConfig, AGAME)
