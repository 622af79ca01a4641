"""MuG Eq. 9-14 against dense float64 transcriptions."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from mug.granularity.video import Readout, aggregate, instance_loss


def fresh(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_aggregate_is_equations_9_to_11() -> None:
    match, value, source_match, source_value = (
        fresh(2, 6, 3, 4),
        fresh(2, 8, 3, 4),
        fresh(2, 5, 6, 3, 4),
        fresh(2, 5, 8, 3, 4),
    )
    ours = aggregate(match, value, source_match, source_value, 0.5)
    rows = []
    for b in range(2):
        keys = torch.cat([source_match[b, k].flatten(1) for k in range(5)], 1)
        carried = torch.cat([source_value[b, k].flatten(1) for k in range(5)], 1)
        affinity = (match[b].flatten(1).T @ keys / 0.5).softmax(1)
        rows.append(torch.cat([(carried @ affinity.T).view(8, 3, 4), value[b]]))
    dense = torch.stack(rows)
    torch.testing.assert_close(ours, dense)
    inputs, weight = [match, value, source_match, source_value], torch.randn_like(dense)
    ours_grad = torch.autograd.grad((ours * weight).sum(), inputs)
    torch.testing.assert_close(ours_grad, torch.autograd.grad((dense * weight).sum(), inputs))


def dense_instance_loss(query: Tensor, instance: Tensor) -> Tensor:
    """Eq. 12-14 with every matrix of positions built, times the temperature."""
    n, k = query.shape[:2]
    losses = []
    for a in range(n):
        for frame in range(k):
            similar = []
            for b in range(n):
                left, right = query[a, frame].flatten(1), instance[b].flatten(1)
                length = left.mean(1).norm() * right.mean(1).norm()
                similar.append((left.T @ right).mean() / length / 0.1)
            p = torch.stack(similar).exp() / torch.stack(similar).exp().sum()
            losses.append(0.1 * (-p[a].log() - sum((1 - p[b]).log() for b in range(n) if b != a)))
    return torch.stack(losses).mean()


def test_instance_loss_is_equations_12_to_14() -> None:
    query, instance = fresh(4, 3, 6, 3, 2), fresh(4, 6, 3, 2)
    ours, _ = instance_loss(query, instance)
    dense = dense_instance_loss(query, instance)
    torch.testing.assert_close(ours, dense)
    gradients = [torch.autograd.grad(loss, [query, instance]) for loss in (ours, dense)]
    torch.testing.assert_close(*gradients)


def test_instance_loss_passes_gradcheck() -> None:
    assert torch.autograd.gradcheck(lambda q, i: instance_loss(q, i)[0], (fresh(3, 1, 4, 2, 2), fresh(3, 4, 2, 2)))


def test_a_certain_mistake_costs_a_finite_amount() -> None:
    vectors = F.one_hot(torch.arange(2)).float()[:, :, None, None] * 1e4
    loss, accuracy = instance_loss(vectors.flip(0)[:, None].requires_grad_(), vectors)
    assert loss.isfinite()
    assert accuracy == 0
    assert instance_loss(vectors[:, None], vectors)[1] == 1


def test_v_learns_a_target_and_instances_are_told_apart() -> None:
    torch.manual_seed(0)
    readout, r, target = Readout(), torch.randn(4, 256, 4, 4), torch.rand(4, 1, 4, 4).round()
    instance = torch.randn(4, 256, 4, 4).requires_grad_()
    optimiser = torch.optim.SGD([*readout.parameters(), instance], 0.05)
    losses = []
    for _ in range(3):
        readout_loss = F.binary_cross_entropy_with_logits(readout(r), target)
        video_loss, _ = instance_loss(r[:, None], instance)
        optimiser.zero_grad()
        (readout_loss + 200 * video_loss).backward()
        optimiser.step()
        losses.append((readout_loss.item(), video_loss.item()))
    for before, after in itertools.pairwise(losses):
        assert before[0] > after[0]
        assert before[1] > after[1]
