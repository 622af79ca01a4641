"""Training of AGNN (AGNN Sec. 3.3, 4.1.1)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from agnn_head.calibration import to_probabilities
from agnn_head.checkpoint import load_deeplab, load_phi, save_weights
from agnn_head.loss import weighted_bce
from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig
from downstream.systems.agnn import AGNNFinetuneOptions
from downstream.training.annotated import Annotated, foreground_shares
from downstream.training.samples import grid_target
from mug.checkpoint import load_weights
from mug.errors import InputError
from mug.norm import BatchNorm


class AGNNTraining(nn.Module):
    """AGNN with its losses; see `downstream.systems.base.Trainable`.

    Args:
        options: Architecture, initial weights, and learning rates of the parts.

    Raises:
        InputError: the options or weights cannot be used.
    """

    def __init__(self, options: AGNNFinetuneOptions) -> None:
        super().__init__()
        for name in ("trunk_rate", "head_rate", "carry"):
            if getattr(options, name) < 0:
                raise InputError(f"{name}: {getattr(options, name)} is negative; give 0 or more")
        self._options = options
        self.network = AGNN(complete(options))
        self.stills = options.stills
        trunk = self.network.embedding.trunk
        if not options.scratch:
            start(self.network, options)
        trunk_rate = options.trunk_rate
        if trunk_rate == 0 and options.scratch:
            trunk_rate = AGNNFinetuneOptions.trunk_rate
        if trunk_rate == 0:
            trunk.requires_grad_(False)  # saves the memory for its gradient
        self.rates = {"network.embedding.trunk.": trunk_rate, "network.embedding.": 1.0, "network.": options.head_rate}
        freeze = options.freeze_norm and not options.scratch
        self._frozen = [module for module in trunk.modules() if isinstance(module, BatchNorm)] if freeze else []
        for norm in self._frozen:
            norm.requires_grad_(False)

    def train(self, mode: bool = True) -> AGNNTraining:
        """Sets training mode, except for frozen batch norm."""
        super().train(mode)
        for norm in self._frozen:
            norm.eval()
        return self

    def forward(self, frames_bnchw: Tensor, masks_bnhw: Tensor, still: bool, step: int) -> dict[str, Tensor]:
        """The loss (AGNN Eq. 12): of the embedding's auxiliary output on still images, of the whole graph on videos.

        On videos, the state of the first node first passes through a random number of graphs, up to `options.carry`,
        without gradient.
        """
        frames = frames_bnchw.float() / 255
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
        # unused parameters take part with zero gradient, because other processes wait for their gradients
        unused = torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum() * 0
        loss = weighted_bce(logits, target) + unused
        logits = logits.detach()
        return {"total": loss, "iou": overlap(logits[:, 0] > 0, target), "logits": logits}

    def finish(self, sources: Sequence[Annotated]) -> tuple[AGNN, dict[str, str]]:
        """The network after bias correction, so that maps are probabilities, unless `options.calibrate` is off."""
        if not self._options.calibrate:
            return self.network, {}
        network = copy.deepcopy(self.network)
        to_probabilities(network, foreground_shares(sources))
        return network, {"calibrated": "true"}

    def save(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        """Writes the weights of AGNN."""
        assert isinstance(network, AGNN)
        save_weights(path, network, dict(metadata))


def complete(options: AGNNFinetuneOptions) -> AGNNConfig:
    """The network architecture; if the options do not name a phi backbone, that of the initial weights."""
    embedding = options.model.embedding
    if options.scratch or embedding.kind != "phi" or embedding.backbone is not None:
        return options.model
    backbone = load_weights(options.weights)[0].config.backbone
    return replace(options.model, embedding=replace(embedding, backbone=backbone))


def start(network: AGNN, options: AGNNFinetuneOptions) -> None:
    """Loads the initial weights of the embedding."""
    if options.model.embedding.kind == "phi":
        load_phi(network, options.weights)
    elif options.weights is None:
        raise InputError("--weights: give torchvision's DeepLabV3 as a file, or --scratch")
    else:
        load_deeplab(network, options.weights)


@torch.no_grad()
def carry(network: AGNN, v_bnchw: Tensor, graphs: int) -> Tensor:
    """State (B, 1, C, h, w) of the first node after `graphs` graphs; the other nodes restart in each.

    There is no gradient through these graphs: the network learns to continue from such a state.
    """
    own_b1chw = v_bnchw[:, :1]
    for _ in range(graphs):
        own_b1chw = network.propagate(v_bnchw, torch.cat([own_b1chw, v_bnchw[:, 1:]], 1))[:, :1]
    return own_b1chw


def overlap(found_nhw: Tensor, truth_nhw: Tensor) -> Tensor:
    """Mean J of masks (bool) on a grid, ignoring cells whose truth is NaN; 1 if both masks are empty."""
    known = ~truth_nhw.isnan()
    found, there = found_nhw & known, (truth_nhw > 0.5) & known
    both, either = (found & there).sum((1, 2)), (found | there).sum((1, 2))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0).mean()
