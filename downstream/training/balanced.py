"""Training with the loss that balances fore- and background (AGNN Eq. 12, COSNet), and its bias correction."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from agnn_head.calibration import to_probabilities
from agnn_head.loss import weighted_bce
from downstream.options import BalancedOptions
from downstream.training.annotated import Annotated, foreground_shares
from downstream.training.network import NetworkTraining
from downstream.training.samples import grid_target, overlap
from mug.errors import InputError
from mug.networks.saved import Network


class BalancedTraining(NetworkTraining[Network]):
    """A network with an `embedding` and an `output` layer in training; subclasses add `forward`.

    Args:
        config: The architecture; with `options.start` it is that of the file instead.
        options: Initial weights, learning rates, still images and bias correction.

    Raises:
        InputError: the options or weights cannot be used.
    """

    trunks = ("embedding.trunk",)

    def __init__(self, config: Any, options: BalancedOptions) -> None:
        if options.head_rate < 0:
            raise InputError(f"head_rate: {options.head_rate} is negative; give 0 or more")
        super().__init__(config, options, {"embedding": 1.0, "": options.head_rate})
        self.stills = options.stills
        self._calibrate = options.calibrate

    def losses(self, logits: Tensor, masks_bnhw: Tensor) -> dict[str, Tensor]:
        """What `Trainable.forward` returns for logits (B * N', 1, h, w) and masks (B, N', H, W)."""
        target = grid_target(masks_bnhw.flatten(0, 1), (logits.shape[-2], logits.shape[-1]))
        loss = weighted_bce(logits, target) + self.idle()
        logits = logits.detach()
        return {"total": loss, "iou": overlap(logits[:, 0] > 0, target), "logits": logits}

    def finish(self, sources: Sequence[Annotated]) -> tuple[Network, dict[str, str]]:
        """The network after bias correction, so that maps are probabilities, unless `options.calibrate` is off."""
        if not self._calibrate:
            return self.network, {}
        network: Any = copy.deepcopy(self.network)
        to_probabilities(network, foreground_shares(sources))
        return network, {"calibrated": "true"}
