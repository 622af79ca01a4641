"""Where maps are cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from agnn_head.embedding import EmbeddingConfig
from agnn_head.model import AGNN, AGNNConfig
from downstream.cut import best_cut, cut_scores, move_cut, overlap
from mug.backbone import BackboneConfig


class Disc:
    """Frames whose brightness falls with the distance from the middle; the object is what is brighter than 0.7."""

    name, alike = "disc", True

    def __len__(self) -> int:
        return 7

    def read(self, index: int, shorter: int) -> tuple[np.ndarray, np.ndarray]:
        y, x = np.mgrid[-1:1:64j, -1:1:64j]
        bright = np.clip(1 - np.hypot(x, y), 0, 1)
        return np.rint(255 * bright[..., None].repeat(3, -1)).astype(np.uint8), (bright > 0.7).astype(np.uint8)


class Brightness(nn.Module):
    """Its map is the brightness of the frame."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, frames_bnchw: Tensor) -> Tensor:
        return frames_bnchw[:, :, :1].clamp(1e-4, 1 - 1e-4).logit()


def test_the_cut_is_where_masks_overlap_the_truth_best() -> None:
    scores = cut_scores(Brightness(), [Disc(), Disc()], 64, 3)  # type: ignore[arg-type]
    assert best_cut(scores) == pytest.approx(0.7)


def test_after_it_was_moved_the_cut_is_a_half() -> None:
    torch.manual_seed(0)
    embedding = EmbeddingConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8), rates=(1, 2, 3))
    network = AGNN(AGNNConfig(embedding, channels=8, iterations=1)).eval()
    frames = torch.rand(1, 2, 3, 32, 32)
    before = network(frames)
    middle = before.sigmoid().median().item() + 1e-4
    move_cut(network, middle)
    assert torch.equal(network(frames) > 0, before.sigmoid() > middle)


def test_overlap_leaves_void_out_and_counts_empty_frames_as_right() -> None:
    logits = torch.tensor([[1.0, 1.0, -1.0, 1.0], [-1.0, -1.0, -1.0, -1.0]]).view(2, 1, 2, 2)
    target = torch.tensor([[1.0, 0.0, 1.0, torch.nan], [0.0, 0.0, 0.0, 0.0]]).view(2, 2, 2)
    assert overlap(logits[:, 0] > 0, target) == pytest.approx((1 / 3 + 1) / 2)
