"""Objects that were segmented one by one become one distribution."""

from __future__ import annotations

import pytest
import torch

from downstream.one_shot.aggregate import LIMIT, aggregate


@pytest.mark.parametrize("objects", [2, 3, 11])
def test_odds_are_divided_by_their_sum(objects: int) -> None:
    logits = (3 * torch.randn(objects, 4, 5, dtype=torch.float64)).requires_grad_()
    p = logits.sigmoid()
    everything = torch.cat([(1 - p).prod(0, keepdim=True), p])
    odds = everything / (1 - everything)
    expected = odds / odds.sum(0, keepdim=True)
    weights = torch.randn_like(expected)
    torch.testing.assert_close(aggregate(logits), expected)
    slopes = [torch.autograd.grad((weights * x).sum(), logits)[0] for x in (aggregate(logits), expected)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("objects", [1, 2, 11])
@pytest.mark.parametrize("scale", [1, 1000])
def test_labels_sum_to_one(objects: int, scale: float) -> None:
    likely = aggregate(scale * torch.randn(objects, 40))
    assert likely.shape == (objects + 1, 40)
    assert likely.min() >= 0 and likely.isfinite().all()
    torch.testing.assert_close(likely.sum(0), torch.ones(40))


def test_a_lone_object_keeps_its_probability() -> None:
    logits = torch.linspace(-9, 9, 19)[None]
    torch.testing.assert_close(aggregate(logits)[1], logits[0].sigmoid())


def test_certain_objects_leave_gradients_finite() -> None:
    logits = torch.tensor([[-900.0, 900.0, LIMIT], [-900.0, 900.0, -LIMIT]], requires_grad=True)
    likely = aggregate(logits)
    likely[1].sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert likely[0, 0] > 0.99
    torch.testing.assert_close(likely[1:, 1], torch.full((2,), 0.5), atol=1e-3, rtol=0)
    assert aggregate(logits.bfloat16()).dtype == torch.float32
