"""Training of AGNN (AGNN Sec. 3.3, 4.1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from agnn_head.checkpoint import FORMAT
from agnn_head.model import AGNN
from downstream.systems.agnn import AGNNFinetuneOptions
from downstream.training.balanced import BalancedTraining
from downstream.training.network import complete
from mug.errors import InputError


class AGNNTraining(BalancedTraining[AGNN]):
    """AGNN with its losses; see `downstream.systems.base.Trainable`.

    Args:
        options: Architecture, initial weights, and learning rates of the parts.

    Raises:
        InputError: the options or weights cannot be used.
    """

    format = FORMAT

    def __init__(self, options: AGNNFinetuneOptions) -> None:
        if options.graphs < 0:
            raise InputError(f"graphs: {options.graphs} is negative; give 0 or more")
        super().__init__(replace(options.model, embedding=complete(options.model.embedding, options)), options)
        self._options = options

    def forward(self, batch: Mapping[str, Tensor], still: bool, step: int) -> dict[str, Tensor]:
        """The loss (AGNN Eq. 12): of the embedding's auxiliary output on still images, of the whole graph on videos.

        On videos, the state of the first node first passes through a random number of graphs, up to `options.graphs`,
        without gradient.
        """
        frames = batch["frames"].float() / 255
        network = self.network
        if still:
            logits = network.auxiliary(network.embed(frames.flatten(0, 1)))
        else:
            v_bnchw = network.embed(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
            graphs = int(np.random.default_rng([self._options.seed, step, 0]).integers(self._options.graphs + 1))
            own_b1chw = carry(network, v_bnchw, graphs) if graphs else v_bnchw[:, :1]
            state_bnchw = torch.cat([own_b1chw, v_bnchw[:, 1:]], 1)
            logits = network.read(network.propagate(v_bnchw, state_bnchw), v_bnchw).flatten(0, 1)
        return self.losses(logits, batch["masks"])


@torch.no_grad()
def carry(network: AGNN, v_bnchw: Tensor, graphs: int) -> Tensor:
    """State (B, 1, C, h, w) of the first node after `graphs` graphs; the other nodes restart in each.

    There is no gradient through these graphs: the network learns to continue from such a state.
    """
    own_b1chw = v_bnchw[:, :1]
    for _ in range(graphs):
        own_b1chw = network.propagate(v_bnchw, torch.cat([own_b1chw, v_bnchw[:, 1:]], 1))[:, :1]
    return own_b1chw
