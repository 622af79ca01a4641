"""Features for matching: phi's matching head, and the two baselines it has to beat."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from downstream.backbones.lattice import Cells
from mug.backbone import Phi, for_inference
from mug.options import BackboneConfig

Extractor = Callable[[Tensor], Tensor]
"""Maps a frame (1, 3, H, W), RGB in [0, 1], to a feature map (1, C, h, w). An optional attribute `cells` locates its
cells in the frame (`downstream.backbones.lattice`)."""

LAB_CELL = 8
"""Pixels per cell of the colour patches."""
LAB_SAMPLES = 3
"""Colour samples per cell in x and in y."""


class PhiFeatures:
    """The matching head of phi, in evaluation mode. Later changes to phi have no effect on it.

    Attributes:
        cells: Position of its cells in the frame.
    """

    def __init__(self, phi: Phi) -> None:
        self._phi = for_inference(phi)
        self.cells = Cells(phi.stride)

    def __call__(self, frame_b3hw: Tensor) -> Tensor:
        """See `Extractor`."""
        match: Tensor = self._phi(frame_b3hw.contiguous(memory_format=torch.channels_last)).match
        return match


def untrained_phi(config: BackboneConfig, frames: Iterable[Tensor], seed: int = 0) -> Phi:
    """Phi with random weights, and with batch-norm statistics fitted to real frames.

    With the initial running averages, activations would grow from layer to layer and the comparison with a trained phi
    would be unfair.

    Args:
        config: The architecture.
        frames: (1, 3, H, W) each; the statistics are averaged over them with equal weights.
        seed: Seed of the random weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        phi = Phi(config)
    for module in phi.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a cumulative average instead of a decaying one
    phi.train()
    with torch.no_grad():
        for frame_b3hw in frames:
            phi(frame_b3hw)
    return phi.eval()


def lab_features(frame_b3hw: Tensor) -> Tensor:
    """Patches of Lab colour, lifted so that their inner product decreases with squared distance.

    A vector p, |p| < R, becomes (p, sqrt(R^2 - |p|^2)) / R, which has unit length. For R well above |p| the product of
    two is 1 - |p - p'|^2 / (2 R^2), so the softmax over products is the Gaussian kernel of patch distance.

    Args:
        frame_b3hw: (1, 3, H, W) RGB in [0, 1].

    Returns:
        (1, 3 * LAB_SAMPLES^2 + 1, ceil(H / LAB_CELL), ceil(W / LAB_CELL)).
    """
    rgb = frame_b3hw[0].permute(1, 2, 0).contiguous().cpu().numpy()
    lab = torch.from_numpy(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB) / np.float32(100))
    height, width = (LAB_SAMPLES * math.ceil(side / LAB_CELL) for side in lab.shape[:2])
    shrunk = F.adaptive_avg_pool2d(lab.permute(2, 0, 1)[None], (height, width))
    patch = F.pixel_unshuffle(shrunk, LAB_SAMPLES) / LAB_SAMPLES  # |p|^2 is the mean over the patch, at most about 5
    radius = 4.0
    lift = (radius**2 - patch.square().sum(1, keepdim=True)).clamp_min(0).sqrt()
    return (torch.cat([patch, lift], 1) / radius).to(frame_b3hw.device)
