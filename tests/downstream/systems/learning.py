"""Whether a training learns."""

from __future__ import annotations

import torch

from downstream.systems.base import Trainable


def check_learns(trainee: Trainable, steps: int) -> None:
    """A bright square on dark ground halves the loss of video, then that of stills."""
    masks = torch.zeros(1, 2, 64, 64, dtype=torch.uint8)
    masks[..., 16:48, 16:48] = 1
    frames = (60 + 150 * masks[:, :, None]).expand(1, 2, 3, 64, 64)
    optimiser = torch.optim.AdamW(trainee.parameters(), 1e-2)
    for still in (False, True):
        losses = []
        for step in range(steps):
            out = trainee({"frames": frames, "masks": masks}, still, step)
            optimiser.zero_grad()
            out["total"].backward()
            optimiser.step()
            losses.append(out["total"].item())
        assert losses[-1] < 0.5 * losses[0], still
