"""Small networks fitted to the evidence of one video (MuG Eq. 15 at test time)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from downstream.zero_shot.log_odds import CERTAINTY
from downstream.zero_shot.views import View

BATCH = 2048
"""Pixels per gradient step."""


@dataclass(frozen=True)
class ReadoutConfig:
    """Settings of a readout's fit."""

    steps: int = 100
    """Gradient steps per fit."""
    samples: int = 20_000
    """Pixels of the video sampled per fit."""
    hidden: int = 32
    """Width of a readout's two hidden layers."""


def fit(view: View, target_thw: np.ndarray, config: ReadoutConfig, seed: int) -> nn.Module:
    """Fits a small readout to the evidence of the video (MuG Eq. 15, with the evidence as P-bar)."""
    rng = np.random.default_rng(seed)
    each = -(-config.samples // len(view))
    x, y = [], []
    for t in range(len(view)):
        chosen = rng.integers(0, target_thw[t].size, each)
        x.append(view[t].reshape(target_thw[t].size, -1)[chosen])
        y.append(target_thw[t].ravel()[chosen])
    x_nc, y_n = torch.from_numpy(np.concatenate(x)), torch.from_numpy(np.concatenate(y))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        net = _readout(x_nc.shape[1], config.hidden)
        optimizer = torch.optim.AdamW(net.parameters(), 2e-2, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, total_steps=config.steps)
        for _ in range(config.steps):
            batch = torch.from_numpy(rng.integers(0, len(y_n), BATCH))
            loss = F.binary_cross_entropy_with_logits(net(x_nc[batch])[:, 0], y_n[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net


@torch.no_grad()
def ask(net: nn.Module, view: View) -> np.ndarray:
    """(T, H, W) log odds of the readout, clipped to the same bounds as all evidence."""
    bound = math.log(1 / CERTAINTY - 1)
    answers = []
    for t in range(len(view)):
        seen = torch.from_numpy(view[t])
        answers.append(net(seen.flatten(0, 1)).view(seen.shape[:2]).clamp(-bound, bound).numpy())
    return np.stack(answers)


def _readout(channels: int, hidden: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
    )
