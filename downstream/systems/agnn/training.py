"""Training of AGNN (AGNN Sec. 3.3, 4.1.1)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from agnn_head.calibration import to_probabilities
from agnn_head.checkpoint import FORMAT
from agnn_head.loss import weighted_bce
from agnn_head.model import AGNN
from downstream.systems.agnn import AGNNFinetuneOptions
from downstream.training.annotated import Annotated, foreground_shares
from downstream.training.network import NetworkTraining, complete
from downstream.training.samples import grid_target, overlap
from mug.errors import InputError


class AGNNTraining(NetworkTraining[AGNN]):
    """AGNN with its losses; see `downstream.systems.base.Trainable`.

    Args:
        options: Architecture, initial weights, and learning rates of the parts.

    Raises:
        InputError: the options or weights cannot be used.
    """

    format = FORMAT
    trunks = ("embedding.trunk",)

    def __init__(self, options: AGNNFinetuneOptions) -> None:
        for name in ("head_rate", "carry"):
            if getattr(options, name) < 0:
                raise InputError(f"{name}: {getattr(options, name)} is negative; give 0 or more")
        config = replace(options.model, embedding=complete(options.model.embedding, options))
        super().__init__(config, options, {"embedding": 1.0, "": options.head_rate})
        self._options = options
        self.stills = options.stills

    def forward(self, batch: Mapping[str, Tensor], still: bool, step: int) -> dict[str, Tensor]:
        """The loss (AGNN Eq. 12): of the embedding's auxiliary output on still images, of the whole graph on videos.

        On videos, the state of the first node first passes through a random number of graphs, up to `options.carry`,
        without gradient.
        """
        frames, masks_bnhw = batch["frames"].float() / 255, batch["masks"]
        network = self.network
        if still:
            logits = network.auxiliary(network.embed(frames.flatten(0, 1)))
        else:
            v_bnchw = network.embed(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
            graphs = int(np.random.default_rng([self._options.seed, step, 0]).integers(self._options.carry + 1))
            own_b1chw = carry(network, v_bnchw, graphs) if graphs else v_bnchw[:, :1]
            state_bnchw = torch.cat([own_b1chw, v_bnchw[:, 1:]], 1)
            logits = network.read(network.propagate(v_bnchw, state_bnchw), v_bnchw).flatten(0, 1)
        target = grid_target(masks_bnhw.flatten(0, 1), (logits.shape[-2], logits.shape[-1]))
        loss = weighted_bce(logits, target) + self.idle()
        logits = logits.detach()
        return {"total": loss, "iou": overlap(logits[:, 0] > 0, target), "logits": logits}

    def finish(self, sources: Sequence[Annotated]) -> tuple[AGNN, dict[str, str]]:
        """The network after bias correction, so that maps are probabilities, unless `options.calibrate` is off."""
        if not self._options.calibrate:
            return self.network, {}
        network = copy.deepcopy(self.network)
        to_probabilities(network, foreground_shares(sources))
        return network, {"calibrated": "true"}


@torch.no_grad()
def carry(network: AGNN, v_bnchw: Tensor, graphs: int) -> Tensor:
    """State (B, 1, C, h, w) of the first node after `graphs` graphs; the other nodes restart in each.

    There is no gradient through these graphs: the network learns to continue from such a state.
    """
    own_b1chw = v_bnchw[:, :1]
    for _ in range(graphs):
        own_b1chw = network.propagate(v_bnchw, torch.cat([own_b1chw, v_bnchw[:, 1:]], 1))[:, :1]
    return own_b1chw
