"""What Eq. 12 does to the odds of foreground."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agnn_head.calibration import raised_odds, to_probabilities
from agnn_head.loss import weighted_bce
from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig
from mug.options import BackboneConfig, EmbeddingConfig

CELLS = 1000


@pytest.mark.parametrize("shares", [(0.05, 0.2, 0.4), (0.1, 0.1), (0.0, 0.0, 0.3), (0.002, 0.1, 0.995)])
def test_the_best_map_of_cells_that_look_alike_has_the_true_odds_raised(shares: tuple[float, ...]) -> None:
    target = torch.stack([torch.arange(CELLS) < round(CELLS * share) for share in shares]).double().view(-1, 20, 50)
    odds = torch.logspace(-4, 4, 8001, dtype=torch.float64)
    losses = torch.stack([weighted_bce(x.log().expand(len(shares), 1, 20, 50), target) for x in odds])
    least = odds[losses.argmin()].item()
    share = float(np.mean(shares))
    assert least == pytest.approx(share / (1 - share) * raised_odds(shares), rel=2e-3)


@pytest.mark.parametrize("shares", [(0.0, 0.0), (1.0,)])
def test_frames_all_of_one_kind_give_a_finite_factor(shares: tuple[float, ...]) -> None:
    assert 1 / 100 <= raised_odds(shares) <= 100


@pytest.mark.parametrize("graph", [True, False])
def test_logits_are_moved_by_the_log_of_that_factor(graph: bool) -> None:
    torch.manual_seed(0)
    embedding = EmbeddingConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8), rates=(1, 2, 3))
    network = AGNN(AGNNConfig(embedding, channels=8, graph=graph, iterations=1)).eval()
    frames = torch.rand(1, 2, 3, 32, 32)
    before = network(frames)
    to_probabilities(network, [0.1, 0.3])
    torch.testing.assert_close(network(frames), before - torch.tensor(4.0).log())
