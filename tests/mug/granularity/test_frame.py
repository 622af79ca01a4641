"""MuG Eq. 2 and 15."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch

from mug.granularity.frame import FrameHead, bootstrap_weights, frame_loss

NAN = math.nan


def test_frame_loss_is_equation_2_over_what_is_labelled() -> None:
    logits = torch.randn(3, 1, 2, 4, dtype=torch.float64, requires_grad=True)
    target = torch.rand(3, 2, 4).double()
    target[1] = NAN
    target[2, 0, 1] = NAN
    terms = []
    for b in range(3):
        for y in range(2):
            for x in range(4):
                q = target[b, y, x]
                if not q.isnan():
                    p = 1 / (1 + torch.exp(-logits[b, 0, y, x]))
                    terms.append(-(q * p.log() + (1 - q) * (1 - p).log()))
    dense, ours = torch.stack(terms).mean(), frame_loss(logits, target)
    assert len(terms) == 15
    torch.testing.assert_close(ours, dense)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, dense)]
    torch.testing.assert_close(*gradients)


def test_frame_loss_passes_gradcheck() -> None:
    logits = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 3, 3).double()
    assert torch.autograd.gradcheck(lambda x: frame_loss(x, target), (logits,))


def test_without_any_label_the_loss_and_its_gradient_are_zero() -> None:
    logits = torch.randn(2, 1, 3, 3, requires_grad=True)
    loss = frame_loss(logits, torch.full((2, 3, 3), NAN))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize(("keep", "a"), [("prediction", 0.05), ("label", 0.95)])
def test_equation_15_as_printed_and_the_other_way_round(keep: Literal["prediction", "label"], a: float) -> None:
    logits = torch.randn(2, 1, 3, 4, dtype=torch.float64)
    q, past = torch.rand(2, 2, 3, 4, dtype=torch.float64).round()
    p = logits[:, 0].sigmoid()
    printed = (a * q + (1 - a) * past) * p.log() + (a * (1 - q) + (1 - a) * (1 - past)) * (1 - p).log()
    of_label, of_prediction = bootstrap_weights(0.05, keep)
    torch.testing.assert_close(frame_loss(logits, of_label * q + of_prediction * past), -printed.mean())


def test_rho_learns_a_target() -> None:
    torch.manual_seed(0)
    head, trunk, target = FrameHead(), torch.randn(2, 512, 4, 4), torch.rand(2, 4, 4).round()
    optimiser = torch.optim.SGD(head.parameters(), 0.01)
    losses = []
    for _ in range(3):
        loss = frame_loss(head(trunk), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]
    assert head(trunk).shape == (2, 1, 4, 4)
    assert losses[0] == pytest.approx(0.7, abs=0.2)
