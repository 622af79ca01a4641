"""Training of COSNet: still images for the embedding, pairs of frames of a video for the whole network (Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from downstream.systems.cosnet import COSNetFinetuneOptions
from downstream.systems.cosnet.network import FORMAT, COSNet
from downstream.training.balanced import BalancedTraining
from downstream.training.network import complete
from downstream.training.options import Clip
from mug.errors import InputError


class COSNetTraining(BalancedTraining[COSNet]):
    """COSNet with its losses; see `downstream.systems.base.Trainable`.

    Args:
        options: Architecture, initial weights, and learning rates of the parts.

    Raises:
        InputError: the options or weights cannot be used.
    """

    format = FORMAT
    clip = Clip(choose="any")

    def __init__(self, options: COSNetFinetuneOptions) -> None:
        super().__init__(replace(options.model, trunk=complete(options.model.trunk, options)), options)
        if self.network.co_attention is not None and options.sample.nodes != 2:
            raise InputError(f"sample.nodes: {options.sample.nodes} frames are no pair; COSNet learns from 2")

    def forward(self, batch: Mapping[str, Tensor], still: bool, step: int) -> dict[str, Tensor]:
        """The weighted cross-entropy: of the embedding's auxiliary output on stills, of both frames of pairs else."""
        frames = batch["frames"].float() / 255
        v_bchw = self.network.embed(frames.flatten(0, 1))
        if still:
            logits = self.network.auxiliary(v_bchw)
        else:
            logits = self.network.compare(v_bchw.unflatten(0, frames.shape[:2])).flatten(0, 1)
        return self.losses(logits, batch["masks"])
