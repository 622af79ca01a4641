"""MuG Eq. 6-8 and the known warps, against dense float64 transcriptions."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mug.affinity.inliers import inlier_share
from mug.granularity import long_term
from mug.granularity.long_term import Kappa, known_warp_loss, long_term_loss

EYE = torch.eye(2, 3).double()


def features(batch: int, height: int = 8, width: int = 8) -> Tensor:
    return F.normalize(torch.randn(batch, 64, height, width).double(), dim=1).requires_grad_()


def restless_kappa() -> Kappa:
    """A kappa that has left the identity."""
    kappa = Kappa().double()
    torch.nn.init.normal_(kappa.theta.weight, std=0.003)
    return kappa


def test_kappa_begins_at_the_identity() -> None:
    theta = Kappa()(features(3).float(), features(3).float())
    torch.testing.assert_close(theta, EYE.float().repeat(3, 1, 1))


@pytest.mark.parametrize("grid", [(32, 32), (16, 48)])
def test_kappa_sees_the_correlation_pooled_on_both_sides(grid: tuple[int, int]) -> None:
    query, source = features(2, *grid).detach(), features(2, *grid).detach()
    kappa, seen = Kappa().double(), []
    kappa.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    kappa(query, source)
    full = torch.einsum("bcij,bckl->bklij", query, source)  # source cells first: the channels of the convolution
    by, bx = grid[0] // 16, grid[1] // 16
    pooled = full.unflatten(4, (16, bx)).unflatten(3, (16, by)).unflatten(2, (16, bx)).unflatten(1, (16, by))
    pooled = pooled.mean((2, 4, 6, 8)).flatten(1, 2).relu()
    torch.testing.assert_close(seen[0], pooled / pooled.norm(dim=1, keepdim=True))


def dense_score(query: Tensor, source: Tensor, theta: Tensor, temperature: float) -> Tensor:
    """One direction of Eq. 8 for one pair: the sum over o and m of A(m, o) iota(m, o)."""
    _, height, width = query.shape
    affinity = (source.flatten(1).T @ query.flatten(1) / temperature).softmax(0)  # column-wise: over the source
    weight = torch.zeros_like(affinity)
    columns = []
    for o in range(height * width):
        x, y = (2 * (o % width) + 1) / width - 1, (2 * (o // width) + 1) / height - 1
        to_x = ((theta[0, 0] * x + theta[0, 1] * y + theta[0, 2] + 1) * width - 1) / 2
        to_y = ((theta[1, 0] * x + theta[1, 1] * y + theta[1, 2] + 1) * height - 1) / 2
        near = [
            (1 - (to_x - m % width).abs()).clamp(min=0) * (1 - (to_y - m // width).abs()).clamp(min=0)
            for m in range(height * width)
        ]
        columns.append(torch.stack(near))
    weight = torch.stack(columns, 1)
    weight = weight / weight.sum(1, keepdim=True).clamp(min=1)
    return (affinity * weight).sum()


def test_long_term_loss_is_equation_8_in_both_directions() -> None:
    kappa = restless_kappa().eval()
    pair, warped = features(4, 6, 5), features(4, 6, 5)
    known = some_warps(2, 2)
    frames, copies = pair.unflatten(0, (2, 2)), warped.unflatten(0, (2, 2))
    ours, share = long_term_loss(kappa, frames, copies, known, torch.tensor(0.1))
    theta, scores = [], []
    for n in range(2):
        for query, source in ((1, 0), (0, 1)):
            to_source = kappa(frames[n, query][None], frames[n, source][None])[0]
            square = [torch.cat([to_source, torch.eye(3).double()[2:]]), torch.cat([known[n, query], torch.eye(3)[2:]])]
            theta.append((square[0] @ square[1])[:2])
            scores.append(dense_score(copies[n, query], frames[n, source], theta[-1], 0.1))
    dense = -torch.stack(scores).sum() / 2
    torch.testing.assert_close(ours, dense)
    inputs = [pair, warped, *kappa.parameters()]
    ours_grad = torch.autograd.grad(ours, inputs)
    torch.testing.assert_close(ours_grad, torch.autograd.grad(dense, inputs), rtol=1e-6, atol=1e-9)
    assert all(g.abs().sum() > 0 for g in ours_grad)
    sources, queries = frames.flatten(0, 1), copies.flip(1).flatten(0, 1)
    torch.testing.assert_close(share, inlier_share(queries, sources, torch.stack(theta), 0.1).mean())
    assert not share.requires_grad


def test_features_that_tell_places_do_not_solve_the_long_term_loss() -> None:
    """Where they do, any two frames match under the identity, whatever they show."""
    kappa = Kappa()  # begins at the identity
    places = F.normalize(torch.randn(1, 64, 8, 8), dim=1)
    frames = places.expand(6, 2, 64, 8, 8)
    theta = torch.tensor([[0.8, -0.5, 0.2], [0.5, 0.8, -0.2]]).expand(6, 2, 2, 3)
    _, share = long_term_loss(kappa, frames, frames, theta, torch.tensor(0.05))
    assert share < 0.2
    shown = F.grid_sample(places, F.affine_grid(theta[0, :1], [1, 64, 8, 8], align_corners=False), align_corners=False)
    copies = F.normalize(shown, dim=1).expand(6, 2, 64, 8, 8)  # features that tell what is there
    _, share = long_term_loss(kappa, frames, copies, theta, torch.tensor(0.05))
    assert share > 0.5


def some_warps(videos: int, frames: int) -> Tensor:
    return EYE + 0.2 * torch.randn(videos, frames, 2, 3).double()


def warped_features() -> Tensor:
    """Of two frames of each of two videos."""
    return features(4, 4, 5).detach().unflatten(0, (2, 2)).requires_grad_()


def dense_known_warp(
    kappa: Kappa, warped: Tensor, original: Tensor, theta: Tensor, temperature: Tensor
) -> tuple[Tensor, Tensor]:
    videos, frames, _, height, width = warped.shape
    centres = (2 * torch.arange(16).double() + 1) / 16 - 1
    points = torch.stack([centres.repeat(16), centres.repeat_interleave(16), torch.ones(256).double()], 1)
    geometry = (
        (points @ (kappa(warped.flatten(0, 1), original.flatten(0, 1)) - theta.flatten(0, 1)).transpose(1, 2))
        .square()
        .sum(2)
        .mean()
    )
    losses = []
    for n, k in itertools.product(range(videos), range(frames)):
        for o in range(height * width):
            cell = [(2 * (o % width) + 1) / width - 1, (2 * (o // width) + 1) / height - 1, 1.0]
            to = theta[n, k] @ torch.tensor(cell, dtype=torch.float64)
            x, y = ((to[0] + 1) * width - 1) / 2, ((to[1] + 1) * height - 1) / 2
            if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
                continue
            query = warped[n, k].flatten(1)[:, o] / temperature
            true, negatives = torch.zeros(64).double(), []
            for m in range(height * width):
                dx, dy = x - m % width, y - m // width
                true = (
                    true + (1 - dx.abs()).clamp(min=0) * (1 - dy.abs()).clamp(min=0) * original[n, k].flatten(1)[:, m]
                )
            for other in range(videos):
                for m in range(height * width):
                    if other != n or (x - m % width) ** 2 + (y - m // width) ** 2 > 1.5**2:
                        negatives.append(query @ original[other, k].flatten(1)[:, m])
            positive = query @ true / true.norm()
            losses.append(-(positive.exp() / (positive.exp() + torch.stack(negatives).exp().sum())).log())
    return geometry, torch.stack(losses).mean()


def test_known_warp_loss_is_its_dense_transcription() -> None:
    torch.manual_seed(3)
    kappa, warped, original, theta = restless_kappa().eval(), warped_features(), warped_features(), some_warps(2, 2)
    temperature = torch.tensor(0.2).double().requires_grad_()
    ours, geometry, matching = known_warp_loss(kappa, warped, original, theta, temperature)
    dense = dense_known_warp(kappa, warped, original, theta, temperature)
    torch.testing.assert_close((geometry, matching), dense, rtol=1e-6, atol=1e-9)
    inputs = [warped, original, temperature, *kappa.parameters()]
    ours_grad, dense_grad = (torch.autograd.grad(loss, inputs) for loss in (ours, sum(dense)))
    torch.testing.assert_close(ours_grad, dense_grad, rtol=1e-6, atol=1e-10)


def test_large_grids_ask_from_a_lattice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_term, "QUERIES", 16)
    cells = long_term._lattice(8, 8, torch.device("cpu"))
    assert len(cells) == 16
    assert set(cells.tolist()) < set(range(64))
    assert long_term._lattice(4, 4, torch.device("cpu")).tolist() == list(range(16))
    loss, _, _ = known_warp_loss(
        Kappa().double(), warped_features(), warped_features(), some_warps(2, 2), torch.tensor(0.1)
    )
    assert loss.isfinite()


@pytest.mark.parametrize("name", ["long", "warp"])
def test_it_learns(name: str) -> None:
    torch.manual_seed(0)
    kappa, frame = Kappa(), torch.randn(4, 64, 16, 16)
    theta = torch.eye(2, 3).repeat(4, 1, 1) + 0.1 * torch.randn(4, 2, 3)
    frame = F.avg_pool2d(frame, 5, 1, 2)
    other = F.grid_sample(frame, F.affine_grid(theta, list(frame.shape), align_corners=False), align_corners=False)
    torch.nn.init.normal_(kappa.theta.weight, std=0.02)  # on the identity the bilinear weights have a kink
    parameters = [frame.requires_grad_(), other.requires_grad_(), *kappa.parameters()]
    optimiser = torch.optim.SGD(parameters, 2e-6 if name == "long" else 0.02)
    losses = []
    for _ in range(3):
        query, source = F.normalize(other, dim=1), F.normalize(frame, dim=1)
        if name == "warp":
            loss = known_warp_loss(kappa, query[:, None], source[:, None], theta[:, None], torch.tensor(0.1))[0]
        else:
            frames, copies = torch.stack([source, query], 1), torch.stack([query, source], 1)
            loss = long_term_loss(kappa, frames, copies, EYE.float().expand(4, 2, 2, 3), torch.tensor(0.1))[0]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]
