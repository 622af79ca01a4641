"""The weighted cross-entropy against AGNN Eq. 12."""

from __future__ import annotations

import pytest
import torch

from agnn_head.loss import SMALLEST_SHARE, weighted_bce


def logits(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64).mul(2).requires_grad_()


@pytest.mark.parametrize("soft", [False, True])
def test_it_is_equation_12_in_value_and_gradient(soft: bool) -> None:
    x = logits(2, 3, 1, 6, 5)
    target = torch.rand(2, 3, 6, 5, dtype=torch.float64) * torch.rand(2, 3, 1, 1, dtype=torch.float64)
    target = target if soft else (target > 0.3).double()
    total = 0
    for frame in range(6):
        s, p = target.flatten(0, 1)[frame], torch.sigmoid(x.flatten(0, 2)[frame])
        eta = (s.sum() / s.numel()).clamp(SMALLEST_SHARE, 1 - SMALLEST_SHARE)
        total = total - ((1 - eta) * s * torch.log(p) + eta * (1 - s) * torch.log(1 - p)).sum() / (6 * 30)
    ours = weighted_bce(x, target)
    torch.testing.assert_close(ours, total)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in (ours, total)))
    assert torch.autograd.gradcheck(lambda x: weighted_bce(x, target), x)


def test_fore_and_background_of_a_frame_weigh_the_same() -> None:
    target = torch.zeros(1, 10, 10)
    target[:, :2] = 1
    foreground = weighted_bce(torch.zeros(1, 1, 10, 10), torch.where(target == 1, target, torch.nan))
    assert foreground > 0
    x = torch.zeros(1, 1, 10, 10, requires_grad=True)
    weighted_bce(x, target).backward()
    assert x.grad[:, :, :2].sum().item() == pytest.approx(-x.grad[:, :, 2:].sum().item())


@pytest.mark.parametrize("full", [0.0, 1.0])
def test_a_frame_without_object_and_one_full_of_it_teach(full: float) -> None:
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    loss = weighted_bce(x, torch.full((1, 4, 4), full))
    loss.backward()
    assert loss.item() == pytest.approx(SMALLEST_SHARE * torch.tensor(2.0).log().item(), rel=1e-4)
    assert (x.grad * (1 if full == 0 else -1) > 0).all()


def test_void_counts_neither_as_area_nor_as_loss() -> None:
    x = logits(1, 1, 4, 6)
    target = (torch.rand(1, 4, 6) > 0.5).double()
    target[..., 3:] = torch.nan
    torch.testing.assert_close(weighted_bce(x, target), weighted_bce(x[..., :3], target[..., :3]))
    nothing = weighted_bce(x, torch.full_like(target, torch.nan))
    nothing.backward()
    assert nothing == 0 and not x.grad.any()


def test_extreme_logits_stay_finite() -> None:
    x = torch.tensor([-1e4, 1e4]).view(1, 1, 1, 2).requires_grad_()
    loss = weighted_bce(x, torch.tensor([1.0, 0.0]).view(1, 1, 2))
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all()
