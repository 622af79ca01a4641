"""A picture of training frames with true and predicted masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mug.media.masks import VOID
from mug.media.overlay import blend


def training_picture(batch: dict[str, Any], logits: Tensor) -> Tensor:
    """The frames of a batch with their masks: a row for the truth and one for the prediction.

    Args:
        batch: A batch of `downstream.training.samples.collate`.
        logits: (B * N', 1, h, w), the predictions.

    Returns:
        (3, H, W) in [0, 1].
    """
    from torchvision.utils import make_grid

    frames, masks = batch["frames"].flatten(0, 1), batch["masks"].flatten(0, 1)
    found = nn.functional.interpolate(logits.float().cpu(), size=frames.shape[-2:], mode="bilinear")[:, 0] > 0
    rows: Sequence[Tensor] = [(masks > 0) & (masks != VOID), found]
    painted = [
        torch.from_numpy(blend(frame.permute(1, 2, 0).numpy(), mask.byte().numpy())).permute(2, 0, 1) / 255
        for row in rows
        for frame, mask in zip(frames, row, strict=True)
    ]
    picture: Tensor = make_grid(painted, nrow=len(frames))
    return picture
